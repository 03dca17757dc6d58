"""The statistics of a proof: paired differences from random, their intervals, and verdicts in words.

Two things are random in a proof: the draw of a seed (which random subset, which training order) and
the draw of the evaluation examples. A t interval over seeds speaks of the first, a bootstrap over
examples of the second; each difference gets the wider of the two, and the larger p-value.
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
DRAWS: Final = 4_000
MIN_SEEDS: Final = 5

BETTER: Final = "better"
WORSE: Final = "worse"
NO_DIFFERENCE: Final = "no difference shown"
TOO_FEW_SEEDS: Final = "too few seeds"
NOT_APPLICABLE: Final = "not applicable"

_OVER_SEEDS: Final = "t over seeds"
_OVER_EXAMPLES: Final = "bootstrap over examples"
_BLOCK: Final = 4_000_000  # counts held at once by the bootstrap


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """An interval and what it was computed over: ``t over seeds`` or ``bootstrap over examples``."""

    low: float
    high: float
    over: str

    @property
    def width(self) -> float:
        """Distance between the ends."""
        return self.high - self.low


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
        Of the mean, the wider of both.
    delta, delta_interval
        Mean paired difference from the baseline (arm minus baseline), and the wider interval of
        both; None for the baseline itself.
    p, p_holm
        Two-sided, the larger of both, before and after Holm's correction; None for the baseline and
        for fewer than two seeds.
    verdict
        ``better``, ``worse``, ``no difference shown`` or ``too few seeds``; "" for the baseline.
    """

    values: tuple[float, ...]
    mean: float
    spread: float
    interval: Interval
    delta: float | None = None
    delta_interval: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: str = ""


def compare(
    arms: Mapping[str, Float[np.ndarray, "seeds n"]],
    weights: Float[np.ndarray, " n"],
    *,
    baseline: str,
    lower_is_better: bool,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Compare arms with a baseline, paired by seed and by evaluation example.

    An arm's metric at a seed is the sum of its row over the sum of the weights: the NLL per token
    from each example's summed NLL and its tokens, or the exact match from 0 and 1 and weights of 1.
    O(draws n) for the bootstrap, whatever the number of arms.

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
    draws, seed
        Of the bootstrap.

    Raises
    ------
    ConfigError
        The arms have different shapes, or no seeds or examples.
    """
    names = [baseline, *(name for name in arms if name != baseline)]
    _check(arms, weights)
    total = float(weights.sum())
    by_seed = {name: arms[name].sum(axis=1) / total for name in names}
    means = np.stack([arms[name].mean(axis=0) for name in names])
    resampled = bootstrap(means, weights, draws=draws, seed=seed)  # (draws, arms)
    found = {}
    for column, name in enumerate(names):
        values = by_seed[name]
        interval = wider(
            t_interval(values, level), percentile_interval(resampled[:, column], level)
        )
        own = Comparison(tuple(values.tolist()), float(values.mean()), _spread(values), interval)
        found[name] = own
        if column == 0:
            continue
        paired = values - by_seed[baseline]
        differences = resampled[:, column] - resampled[:, 0]
        found[name] = _with_difference(own, paired, differences, level)
    return judge(found, lower_is_better=lower_is_better, level=level)


def judge(
    found: Mapping[K, Comparison], *, lower_is_better: bool, level: float = LEVEL
) -> dict[K, Comparison]:
    """Correct the p-values of all comparisons together by Holm's method, and give each its verdict.

    For comparisons that `compare` made apart and one page shows together, such as several budgets.
    """
    tested = [key for key, one in found.items() if one.p is not None]
    adjusted = dict(zip(tested, holm([found[key].p or 0.0 for key in tested]), strict=True))
    judged = {}
    for key, one in found.items():
        p = adjusted.get(key)
        if one.delta is not None:
            verdict = _verdict(one, p, lower_is_better, 1 - level)
            judged[key] = replace(one, p_holm=p, verdict=verdict)
        else:
            judged[key] = one
    return judged


def bootstrap(
    rows: Float[np.ndarray, "a n"], weights: Float[np.ndarray, " n"], *, draws: int, seed: int
) -> Float[np.ndarray, "draws a"]:
    """Resample the examples with replacement; return the metric of each row in each draw.

    All rows see the same draws, so that differences of columns are paired.
    """
    n = len(weights)
    rng = np.random.default_rng(seed)
    sums = np.concatenate([rows, weights[None]]).T  # (n, a + 1)
    found = []
    size = max(1, _BLOCK // n)
    for start in range(0, draws, size):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(size, draws - start))
        drawn = counts @ sums
        found.append(drawn[:, :-1] / drawn[:, -1:])
    return np.concatenate(found)


def t_interval(values: Float[np.ndarray, " s"], level: float = LEVEL) -> Interval | None:
    """Return Student's interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = float(values.mean())
    half = t_quantile(level, len(values) - 1) * _spread(values) / math.sqrt(len(values))
    return Interval(mean - half, mean + half, _OVER_SEEDS)


def percentile_interval(draws: Float[np.ndarray, " b"], level: float = LEVEL) -> Interval:
    """Return the central part of bootstrap draws."""
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high), _OVER_EXAMPLES)


def wider(one: Interval | None, other: Interval) -> Interval:
    """Return the wider of two intervals; the second where there is only that."""
    return one if one is not None and one.width >= other.width else other


def t_p_value(differences: Float[np.ndarray, " s"]) -> float | None:
    """Return the two-sided p-value of a mean difference of 0; None for fewer than two values.

    Equal differences leave no doubt: 0, or 1 if they are all 0.
    """
    if len(differences) < 2:
        return None
    error = _spread(differences) / math.sqrt(len(differences))
    mean = float(differences.mean())
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 1 - t_within(abs(mean) / error, len(differences) - 1)


def bootstrap_p_value(draws: Float[np.ndarray, " b"]) -> float:
    """Return the two-sided p-value of a difference of 0, at least 2 / (draws + 1)."""
    fewer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (len(draws) + 1))


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


def t_within(t: float, dof: int) -> float:
    """Return P(-t < T < t) of Student's distribution with a whole number of degrees of freedom.

    The finite series of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if math.isinf(t):
        return 1.0
    angle = math.atan2(t, math.sqrt(dof))
    cosine = math.cos(angle)
    odd = dof % 2 == 1
    term = cosine if odd else 1.0
    total = term if dof > 1 else 0.0
    for k in range(3 if odd else 2, dof - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def t_quantile(level: float, dof: int) -> float:
    """Return the t with P(-t < T < t) = level."""
    low, high = 0.0, 1.0
    while t_within(high, dof) < level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, dof) < level else (low, middle)
    return high


def jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the overlap of two selections: shared examples over all examples of either.

    Examples
    --------
    >>> jaccard(["a", "b", "c"], ["b", "c", "d"])
    0.5
    """
    first, second = set(one), set(other)
    union = len(first | second)
    return len(first & second) / union if union else 1.0


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


def _with_difference(
    own: Comparison,
    paired: Float[np.ndarray, " s"],
    differences: Float[np.ndarray, " b"],
    level: float,
) -> Comparison:
    interval = wider(t_interval(paired, level), percentile_interval(differences, level))
    p = t_p_value(paired)
    return Comparison(
        own.values,
        own.mean,
        own.spread,
        own.interval,
        float(paired.mean()),
        interval,
        None if p is None else max(p, bootstrap_p_value(differences)),
    )


def _verdict(one: Comparison, p: float | None, lower_is_better: bool, alpha: float) -> str:
    assert one.delta is not None and one.delta_interval is not None
    if p is None or len(one.values) < MIN_SEEDS:
        return TOO_FEW_SEEDS
    holds_zero = one.delta_interval.low <= 0 <= one.delta_interval.high
    if p >= alpha or holds_zero:
        return NO_DIFFERENCE
    return BETTER if (one.delta < 0) == lower_is_better else WORSE
