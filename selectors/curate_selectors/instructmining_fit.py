"""InstructMining with a fitted rule: train on random subsets, regress, and select by the rule."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Outcome,
    Procedure,
    Result,
    RuleFitting,
    Select,
    Step,
    register,
    training_settings,
)


@register
@final
@dataclass(frozen=True)
class InstructMiningFit(Procedure):
    """The examples that a rule fitted on this pool and model predicts to lower the loss most.

    InstructMining's own way to its rule [1]_: fine-tune the target model on random subsets, regress
    the log of their losses on held-out examples on the subsets' mean indicators, and rank every
    example by the prediction. The held-out examples are a random part of the pool that no run
    trains on. The fitted rule, with its statistics, is kept in the selection's configuration.

    Deviations: the paper trains on 1,000 examples drawn from different sources 129 times and
    evaluates on answers written by GPT-4; runs, their size and the indicators are settings here,
    and what ``instructmining`` says about its indicators applies. Each seed fits its own rule.

    Cost: ``runs`` fine-tunings of ``subset`` examples, and the indicators.

    Evidence: no difference from random was shown in our proof on the demo's pool
    (`reports/proof-demo.md`).

    Parameters
    ----------
    indicators
        What the rule may read: response_tokens, prompt_tokens, mtld, perplexity, knn_6, reward,
        naturalness, understandability, coherence. The last four need a reward model or UniEval
        (``--model-for``); nothing is substituted for them.
    runs
        Fine-tunings; fewer than 10 per indicator give a warning.
    subset
        Examples of each.
    held_out
        Share of the pool that losses are measured on.
    estimator
        ``ridge``, or ``ols`` as in the paper.
    epochs, lr, template
        Of each fine-tuning.

    References
    ----------
    .. [1] Cao, Kang, Wang and Sun, Instruction Mining: Instruction Data Selection for Tuning Large
       Language Models, COLM 2024. https://arxiv.org/abs/2307.06290
    """

    name: ClassVar[str] = "instructmining-fit"
    purpose: ClassVar[str] = "quality and difficulty"
    experimental: ClassVar[str] = (
        "a rule from few runs says little; look at its leave-one-out R^2 in the selection's warnings"
    )
    indicators: tuple[str, ...] = ("response_tokens", "mtld", "perplexity")
    runs: int = 30
    subset: int = 1_000
    held_out: str = "5%"
    estimator: Literal["ridge", "ols"] = "ridge"
    epochs: int = 3
    lr: float = 2e-5
    template: str = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"instructmining-fit.epochs must be at least 1, got {self.epochs}")
        Budget.parse(self.held_out)
        self._fitting()

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield the indicators, then the runs, then the selection by the rule."""
        if budget is None:
            raise BudgetError("instructmining-fit needs a budget; add --budget 10%, 5000 or 2Mtok")
        fitted = yield from self._fitting().steps(seed)
        config = {"rule": fitted.rule.to_json()}
        chosen = yield Select("instructmining", str(budget), config, None, seed, (fitted.held_out,))
        return Outcome(chosen.id, fitted.notes)

    def _fitting(self) -> RuleFitting:
        training = training_settings(self.epochs, self.lr, self.template)
        return RuleFitting(
            self.name, self.indicators, self.runs, self.subset, self.held_out, self.estimator,
            training,
        )  # fmt: skip
