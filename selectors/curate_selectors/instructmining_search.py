"""InstructMining's search for the subset size whose model has the lowest loss."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, final

from curate import (
    BestSize,
    Budget,
    ConfigError,
    Outcome,
    Procedure,
    Result,
    RuleFitting,
    SearchMethod,
    Select,
    SizeSearch,
    Step,
    Train,
    Union,
    check_search_packages,
    read_rule,
    register,
    training_settings,
)

FIT: Final = "fit"
SMALLEST: Final = 256
LOW_SHARE: Final = 0.01  # of the eligible examples, the smallest and largest size tried
HIGH_SHARE: Final = 0.10


@register
@final
@dataclass(frozen=True)
class InstructMiningSearch(Procedure):
    """The top examples by a rule, as many as give the model with the lowest loss.

    InstructMining [1]_, section on the subset size: rank the examples by the loss the rule predicts,
    and let BlendSearch [2]_ propose sizes; for each, fine-tune the target model on the top examples
    and measure its loss on held-out examples. The best size is kept; the selection's warnings have the
    curve, and every trial is in the procedure's journal, so that no size is trained twice. The
    curve need not have one valley, and nothing here assumes it.

    The held-out examples are a random part of the pool that is never selected. They are of the
    pool's own quality: the paper measures on answers written by GPT-4. The seed decides what is
    held out, how the search goes and how each model is trained; the losses of one curve share all
    of that, and have no error bars. Its size, number of trials and range are settings here: the
    paper states none of them. The epochs are fixed, so more examples are also more steps, in the
    paper too.

    Has a natural size: 10% of the eligible examples at most, or the budget if one is given.
    Thirteen fields, because they include those of ``instructmining-fit``. Cost: a fine-tuning for
    each size tried, and under ``rule=fit`` those of ``instructmining-fit`` before.

    Evidence: no difference from random was shown in our proof on the demo's pool (`reports/proof-demo.md`).

    Parameters
    ----------
    rule
        ``v3``, ``v1``, the path of a rule's JSON file, or the JSON itself, as ``instructmining``
        takes them; or ``fit``: a rule fitted here first, as ``instructmining-fit`` does.
    search
        ``blendsearch`` as in the paper, which needs the package flaml, or ``grid``.
    low, high
        Smallest and largest size. None: 256 or 1% of the eligible examples, whichever is more, and
        10% of them or the budget; where that leaves no range, from a tenth of the largest.
    trials
        Sizes to try at most.
    held_out
        Share of the pool that losses are measured on.
    epochs, lr, template
        Of each fine-tuning.
    indicators, runs, subset, estimator
        Of ``rule=fit``; see ``instructmining-fit``.

    References
    ----------
    .. [1] Cao, Kang, Wang and Sun, Instruction Mining: Instruction Data Selection for Tuning Large
       Language Models, COLM 2024. https://arxiv.org/abs/2307.06290
    .. [2] Wang, Wu, Huang and Saied, Economical Hyperparameter Optimization with Blended Search
       Strategy, ICLR 2021. https://openreview.net/forum?id=VbLH04pRA3
    """

    name: ClassVar[str] = "instructmining-search"
    purpose: ClassVar[str] = "quality and difficulty"
    budget_optional: ClassVar[bool] = True
    experimental: ClassVar[str] = (
        "the lowest of a few losses without error bars is partly luck; look at the curve in the "
        "selection's warnings"
    )
    rule: str = "v3"
    search: SearchMethod = "blendsearch"
    low: int | None = None
    high: int | None = None
    trials: int = 16
    held_out: str = "5%"
    epochs: int = 3
    lr: float = 2e-5
    template: str = "auto"
    indicators: tuple[str, ...] = ("response_tokens", "mtld", "perplexity")
    runs: int = 30
    subset: int = 1_000
    estimator: Literal["ridge", "ols"] = "ridge"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"instructmining-search.epochs must be at least 1, got {self.epochs}")
        Budget.parse(self.held_out)
        low = 1 if self.low is None else self.low
        SizeSearch(low, low + 1 if self.high is None else self.high, self.trials, self.search)
        if self.rule == FIT:
            self._fitting()
            return
        rule = read_rule(self.rule)
        if not rule.is_published:
            object.__setattr__(self, "rule", rule.to_json())

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield the rule if it is to be fitted, then a selection and a training for each size."""
        check_search_packages(self.search)  # before anything is trained
        rule, notes = self.rule, tuple[str, ...]()
        if rule == FIT:
            fitted = yield from self._fitting().steps(seed)
            rule, held_out, notes = fitted.rule.to_json(), fitted.held_out, fitted.notes
        else:
            held_out = (yield Select("random", self.held_out, {}, None, seed)).id
        first = yield self._top(rule, str(budget or Budget(1)), seed, held_out)
        n = int(first.facts["n_eligible"])
        most = int(first.facts["n_selected"] if budget else HIGH_SHARE * n)
        low, high = bounds(n, most, self.low, self.high)
        if budget is not None and high > most:
            raise ConfigError(
                f"instructmining-search.high={high} is more than the {most} examples that budget "
                f"{budget} allows; lower it, or give a larger budget"
            )
        search = SizeSearch(low, high, self.trials, self.search, seed)
        chosen: dict[int, str] = {}
        sizes, loss = search.sizes(), None
        try:
            while True:
                size = next(sizes) if loss is None else sizes.send(loss)
                chosen[size] = (yield self._top(rule, str(size), seed, held_out)).id
                trained = yield Train(chosen[size], self._training(), "target", seed, held_out)
                loss = float(trained.facts["nll"])
        except StopIteration as done:
            best: BestSize = done.value
        own = yield Union((chosen[best.n],))  # a selection with this method's name and settings
        return Outcome(own.id, (*notes, said(best, search)))

    def _top(self, rule: str, budget: str, seed: int, held_out: str) -> Select:
        return Select("instructmining", budget, {"rule": rule}, None, seed, (held_out,))

    def _training(self) -> dict[str, Any]:
        return training_settings(self.epochs, self.lr, self.template)

    def _fitting(self) -> RuleFitting:
        return RuleFitting(
            self.name, self.indicators, self.runs, self.subset, self.held_out, self.estimator,
            self._training(),
        )  # fmt: skip


def bounds(n_eligible: int, most: int, low: int | None, high: int | None) -> tuple[int, int]:
    """Return the sizes to search between; raise `ConfigError` where there are none.

    Parameters
    ----------
    most
        What may be kept: the budget, or a tenth of the eligible examples.
    low, high
        As given by the user.

    Examples
    --------
    >>> bounds(100_000, 10_000, None, None), bounds(2_000, 200, None, None)
    ((1000, 10000), (20, 200))
    """
    largest = most if high is None else min(high, n_eligible)
    usual = max(SMALLEST, math.ceil(LOW_SHARE * n_eligible))
    smallest = low if low is not None else usual if usual < largest else max(1, largest // 10)
    if smallest >= largest:
        raise ConfigError(
            f"there is no size to search for from {smallest} to {largest}: {n_eligible} examples are "
            "eligible; set instructmining-search.low below instructmining-search.high, or give a "
            "larger budget"
        )
    return smallest, largest


def said(best: BestSize, search: SizeSearch) -> str:
    """Say which size was best and the whole curve, in order of size.

    Examples
    --------
    >>> said(BestSize(200, 1.5, ((100, 2.0), (200, 1.5))), SizeSearch(100, 400))
    'best of 2 sizes from 100 to 400 (blendsearch): 200 examples; loss by size: 100 2.0000, 200 1.5000'
    """
    curve = ", ".join(f"{n} {loss:.4f}" for n, loss in sorted(best.trials))
    return (
        f"best of {len(best.trials)} sizes from {search.low} to {search.high} ({search.search}): "
        f"{best.n} examples; loss by size: {curve}"
    )
