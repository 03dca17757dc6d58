"""The statistics of a proof: paired differences from random, their intervals, and verdicts in words.

Two things are random in a proof: the draw of a seed (which random subset, which training order) and
the draw of the evaluation examples. Their errors add, so a difference has one standard error with a
part for each, as in a two-way layout with random effects.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, final

import numpy as np
from jaxtyping import Float

from curate.errors import ConfigError

K = TypeVar("K", bound=Hashable)

LEVEL: Final = 0.95
MIN_SEEDS: Final = 5

BETTER: Final = "better"
WORSE: Final = "worse"
NO_DIFFERENCE: Final = "no difference shown"
TOO_FEW_SEEDS: Final = "too few seeds"
NOT_APPLICABLE: Final = "not applicable"

OVER_BOTH: Final = "seeds and examples"
OVER_EXAMPLES: Final = "examples"


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """An interval, its level, and what it is over: ``seeds and examples``, or ``examples`` alone."""

    low: float
    high: float
    over: str
    level: float = LEVEL

    @property
    def width(self) -> float:
        """Distance between the ends."""
        return self.high - self.low


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and examples with its standard error.

    Parameters
    ----------
    mean
        The metric, or a paired difference of it, of all seeds together.
    error
        Its standard error: seeds and examples added; examples alone for one seed.
    seeds, examples
        How many there are of each.
    seed_share
        Share of the variance that is over seeds, in [0, 1].
    """

    mean: float
    error: float
    seeds: int
    examples: int
    seed_share: float

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the interval whose ends `p_value` would call different from the mean at ``1 - level``."""
        from scipy.optimize import brentq
        from scipy.special import stdtrit

        over = OVER_BOTH if self.seeds > 1 else OVER_EXAMPLES
        if self.error == 0:
            return Interval(self.mean, self.mean, over, level)
        tail = (1 - level) / 2
        widest = -float(stdtrit(min(self._dofs), tail))
        narrowest = -float(stdtrit(max(self._dofs), tail))
        quantile = brentq(lambda t: self._beyond(t) - 2 * tail, narrowest * 0.999, widest * 1.001)
        half = float(quantile) * self.error
        return Interval(self.mean - half, self.mean + half, over, level)

    def p_value(self) -> float:
        """Return the two-sided p-value of 0; an error of 0 leaves no doubt."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return self._beyond(abs(self.mean) / self.error)

    @property
    def _dofs(self) -> tuple[int, int]:
        return max(self.seeds - 1, 1), max(self.examples - 1, 1)

    def _beyond(self, t: float) -> float:
        """Return P(|T| > t): Student's with the degrees of freedom of seeds and of examples, mixed.

        Mixed by their shares of the variance, which keeps the promised level for any shares, as the
        approximation of Cochran and Cox does for two variances (Experimental Designs, 1957, 4.14).
        """
        from scipy.special import stdtr

        of_seeds, of_examples = (2 * float(stdtr(dof, -t)) for dof in self._dofs)
        return self.seed_share * of_seeds + (1 - self.seed_share) * of_examples


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm of a proof on one target, by one metric.

    Parameters
    ----------
    values
        Metric by seed.
    mean, spread
        Mean over seeds, and standard deviation over them (0 for one seed).
    interval
        Of the mean.
    difference
        The mean paired difference from the baseline, arm minus baseline; None for the baseline.
    delta_interval
        Its interval, at the level that Holm's correction tested it at: it leaves out 0 exactly
        where the verdict is ``better`` or ``worse``.
    p, p_holm
        Two-sided, before and after Holm's correction; None for the baseline and for fewer than two
        seeds.
    verdict
        ``better``, ``worse``, ``no difference shown`` or ``too few seeds``; "" for the baseline.
    """

    values: tuple[float, ...]
    mean: float
    spread: float
    interval: Interval
    difference: Estimate | None = None
    delta_interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: str = ""

    @property
    def delta(self) -> float | None:
        """The mean paired difference from the baseline."""
        return None if self.difference is None else self.difference.mean


def compare(
    arms: Mapping[str, Float[np.ndarray, "seeds n"]],
    weights: Float[np.ndarray, " n"],
    *,
    baseline: str,
    lower_is_better: bool,
    level: float = LEVEL,
) -> dict[str, Comparison]:
    """Compare arms with a baseline, paired by seed and by evaluation example.

    An arm's metric at a seed is the sum of its row over the sum of the weights: the NLL per token
    from each example's summed NLL and its tokens, or the exact match from 0 and 1 and weights of 1.
    O(seeds n) an arm.

    Parameters
    ----------
    arms
        By name, the numerators of each seed and example; the same seeds and examples in all.
    weights
        Denominators of the examples.
    baseline
        Name of the arm the others are compared with.
    lower_is_better
        Direction of the metric.
    level
        Of the intervals, and 1 minus the error rate Holm's correction keeps over all arms.

    Raises
    ------
    ConfigError
        The arms have different shapes, or no seeds or examples.
    """
    names = [baseline, *(name for name in arms if name != baseline)]
    _check(arms, weights)
    total = float(weights.sum())
    compared = {}
    for name in names:
        values = arms[name].sum(axis=1) / total
        own = estimate(arms[name], weights)
        comparison = Comparison(
            tuple(values.tolist()), own.mean, _spread(values), own.interval(level)
        )
        if name != baseline:
            difference = estimate(arms[name] - arms[baseline], weights)
            comparison = replace(
                comparison,
                difference=difference,
                delta_interval=difference.interval(level),
                p=difference.p_value() if len(values) > 1 else None,
            )
        compared[name] = comparison
    return judge(compared, lower_is_better=lower_is_better, level=level)


def judge(
    compared: Mapping[K, Comparison], *, lower_is_better: bool, level: float = LEVEL
) -> dict[K, Comparison]:
    """Correct all comparisons together by Holm's method: p-values, intervals and verdicts.

    For comparisons that `compare` made apart and one page shows together, such as several budgets.
    """
    p_values = {
        key: comparison.p for key, comparison in compared.items() if comparison.p is not None
    }
    corrected = holm(list(p_values.values()))
    levels = holm_levels(list(p_values.values()), level)
    tested = dict(zip(p_values, zip(corrected, levels, strict=True), strict=True))
    judged = {}
    for key, comparison in compared.items():
        if comparison.difference is None:
            judged[key] = comparison
            continue
        p, own_level = tested.get(key, (None, level))
        interval = comparison.difference.interval(own_level)
        verdict = _verdict(comparison, p, lower_is_better, 1 - level)
        judged[key] = replace(comparison, p_holm=p, delta_interval=interval, verdict=verdict)
    return judged


def estimate(
    numerators: Float[np.ndarray, "seeds n"], weights: Float[np.ndarray, " n"]
) -> Estimate:
    """Return a ratio of sums over all seeds and examples, with the error of drawing both again.

    The variances of the mean over seeds and over examples add, each that of the linearised ratio.
    Deviation from the two-way formula of Cameron, Gelbach and Miller (Robust Inference With Multiway
    Clustering, 2011, equation 2.11): what differs between seeds and examples at once is in both parts
    and is not taken off, which errs on the side of a wider interval.
    """
    seeds, n = numerators.shape
    total = float(weights.sum())
    by_seed = numerators.sum(axis=1) / total  # (seeds,)
    mean = float(by_seed.mean())
    by_example = numerators.mean(axis=0) - mean * weights  # (n,) what each adds to the ratio
    of_examples = float(np.square(by_example).sum()) * n / max(n - 1, 1) / total**2
    of_seeds = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    variance = of_seeds + of_examples
    share = of_seeds / variance if variance else 1.0
    return Estimate(mean, math.sqrt(variance), seeds, n, share)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method, in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    m = len(p_values)
    adjusted = [0.0] * m
    least = 0.0
    for place, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (m - place) * p_values[index]))
        adjusted[index] = least
    return adjusted


def holm_levels(p_values: Sequence[float], level: float = LEVEL) -> list[float]:
    """Return the level of each comparison's interval, so that it agrees with Holm's verdict.

    Holm tests the k-th smallest of m p-values at ``(1 - level) / (m - k + 1)`` and stops at the
    first that is not below it; those after it are shown at the level it stopped at.

    Examples
    --------
    >>> [round(level, 4) for level in holm_levels([0.01, 0.9, 0.03])]
    [0.9833, 0.975, 0.975]
    """
    tests = len(p_values)
    levels = [level] * len(p_values)
    for index in sorted(range(len(p_values)), key=lambda i: p_values[i]):
        levels[index] = 1 - (1 - level) / tests
        if p_values[index] * tests < 1 - level and tests > 1:
            tests -= 1
    return levels


def _check(
    arms: Mapping[str, Float[np.ndarray, "seeds n"]], weights: Float[np.ndarray, " n"]
) -> None:
    shapes = {name: rows.shape for name, rows in arms.items()}
    if len(set(shapes.values())) != 1 or 0 in next(iter(shapes.values())):
        raise ConfigError(f"arms to compare need the same seeds and examples, got {shapes}")
    if len(weights) != next(iter(shapes.values()))[1]:
        raise ConfigError(f"{len(weights)} weights do not fit arms of {shapes}")


def _spread(values: Float[np.ndarray, " s"]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def _verdict(comparison: Comparison, p: float | None, lower_is_better: bool, alpha: float) -> str:
    if p is None or len(comparison.values) < MIN_SEEDS:
        return TOO_FEW_SEEDS
    if p >= alpha or comparison.difference is None:
        return NO_DIFFERENCE
    return BETTER if (comparison.difference.mean < 0) == lower_is_better else WORSE
