"""InstructMining with a rule of one's own: train on random subsets, regress, and select by the rule."""

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, final

import numpy as np

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Mean,
    Need,
    Outcome,
    Procedure,
    Result,
    Score,
    Select,
    Step,
    Train,
    register,
)
from curate.regression import LinearFit, fit_linear

INDICATORS: Final[Mapping[str, tuple[str, Need]]] = {
    "response_tokens": ("length.response_tokens", Need("length", "target")),
    "prompt_tokens": ("length.prompt_tokens", Need("length", "target")),
    "mtld": ("mtld.mtld", Need("mtld")),
    "perplexity": ("perplexity.ppl", Need("perplexity", "target")),
    "knn_6": ("knn.distance", Need("knn", None, {"i": 6, "metric": "cosine"})),
    "reward": ("reward.reward", Need("reward", "reward")),
    "naturalness": ("unieval.naturalness", Need("unieval", "judge")),
    "understandability": ("unieval.understandability", Need("unieval", "judge")),
    "coherence": ("unieval.coherence", Need("unieval", "judge")),
}


@register
@final
@dataclass(frozen=True)
class InstructMiningFit(Procedure):
    """The examples that a rule fitted on this pool and model predicts to lower the loss most.

    InstructMining's own way to its rule [1]_: fine-tune the target model on random subsets, regress
    the log of their losses on held-out examples on the subsets' mean indicators, and rank every
    example by the prediction. The held-out examples are a random part of the pool that no run
    trains on. The fitted rule, with its statistics, is kept in the selection's configuration.

    Deviations: the paper trains on 1,000 examples drawn from different sources 129 times and evaluates on
    answers written by GPT-4; runs, their size and the indicators are settings here, and what
    ``instructmining`` says of its indicators holds. Each seed fits its own rule.

    Cost: ``runs`` fine-tunings of ``subset`` examples, and the indicators.

    Parameters
    ----------
    indicators
        What the rule may read: response_tokens, prompt_tokens, mtld, perplexity, knn_6, reward,
        naturalness, understandability, coherence. The last four need a reward model or UniEval
        (``--model-for``); nothing is substituted for them.
    runs
        Fine-tunings; fewer than 10 for each indicator are warned of.
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
        for name in ("runs", "subset", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"instructmining-fit.{name} must be at least 1, got {getattr(self, name)}"
                )
        unknown = [name for name in self.indicators if name not in INDICATORS]
        if unknown or not self.indicators:
            raise ConfigError(
                f"instructmining-fit has no indicator {(unknown or ['none'])[0]!r}; choose of: "
                f"{', '.join(INDICATORS)}"
            )
        if self.runs <= len(self.indicators) + 1:
            raise ConfigError(
                f"{self.runs} runs cannot fit {len(self.indicators)} indicators and an intercept; "
                f"set instructmining-fit.runs to {len(self.indicators) + 2} at least, better to "
                f"{10 * len(self.indicators)}"
            )
        Budget.parse(self.held_out)

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield the indicators, the runs one after the other, and the selection by the rule."""
        if budget is None:
            raise BudgetError("instructmining-fit needs a budget; add --budget 10%, 5000 or 2Mtok")
        columns = {name: INDICATORS[name][0] for name in self.indicators}
        needs = {column.split(".")[0]: INDICATORS[name][1] for name, column in columns.items()}
        if "knn" in needs:
            yield Score("embedding")
        bind = {}
        for alias, need in needs.items():
            assert need.scorer is not None
            bind[alias] = (yield Score(need.scorer, need.config, need.role)).id
        held_out = yield Select("random", self.held_out, {}, None, seed)
        means, losses = [], []
        for number in range(self.runs):
            drawn = yield Select(
                "random", str(self.subset), {}, None, self._seed(seed, number), (held_out.id,)
            )
            mean = yield Mean(drawn.id, columns, bind)
            trained = yield Train(drawn.id, self._settings(), "target", number, held_out.id)
            means.append([mean.facts["mean"][name] for name in self.indicators])
            losses.append(math.log(trained.facts["nll"]))
        fit = fit_linear(
            np.array(means), np.array(losses), self.indicators, np.random.default_rng(seed)
        )
        rule = fit.rule("fitted", columns, needs, self._provenance(seed), self.estimator)
        chosen = yield Select(
            "instructmining", str(budget), {"rule": rule.to_json()}, None, seed, (held_out.id,)
        )
        return Outcome(chosen.id, (), (self._said(fit), *fit.warnings))

    def _said(self, fit: LinearFit) -> str:
        coefficients = ", ".join(
            f"{one.indicator} {getattr(one, self.estimator):+.4g}" for one in fit.coefficients
        )
        left_out = fit.loo_r2 if self.estimator == "ols" else fit.ridge_loo_r2
        return (
            f"rule fitted on {fit.n_runs} runs of {self.subset} examples ({self.estimator}): "
            f"{coefficients}; R^2 of runs left out {left_out:.2f}"
        )

    def _seed(self, seed: int, number: int) -> int:
        return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)

    def _provenance(self, seed: int) -> dict[str, Any]:
        return {
            "method": self.name, "runs": self.runs, "subset": self.subset,
            "held_out": self.held_out, "seed": seed,
        }  # fmt: skip

    def _settings(self) -> dict[str, Any]:
        return {
            "length.epochs": self.epochs, "optimiser.lr": self.lr, "data.template": self.template,
        }  # fmt: skip
