"""DONOD: examples whose gradient step shrinks the LM head's norm and moves it little."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

import numpy as np
from jaxtyping import Float

from curate import (
    Budget,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    register,
)

INDIFFERENT: Final = 0.5


@register
@final
@dataclass(frozen=True)
class DONOD(Selector):
    """The examples closest to the ideal of a large DON and a small NOD, by TOPSIS.

    DON (delta of norm) and NOD (norm of delta) [1]_ are what one gradient step on the example does
    to the LM head, see the scorer of this name. TOPSIS [2]_ scales each column to length one,
    weights it, and ranks by closeness D- / (D+ + D-): D+ is the distance to the best value of
    both columns, D- to the worst. Highest first; gains are closeness, in [0, 1]. O(n log n).

    Closeness is relative to the pool: with other examples in it two of them may change places, so
    DON and NOD are stored and closeness is not. A column that is zero or constant decides
    nothing; with two such columns every closeness is 0.5. One extreme value sets the scale of its
    column for all. The learning rate of the step changes the ranking only in its second order.

    Which sign of DON is good is not settled by measurement: on swapped responses the default tells them better
    in three of five pairs of pool and model, with AUROC 0.52 to 0.63 where the other has 0.33 to 0.48. **In the
    other two it is the wrong one, 0.29 and 0.35 against 0.73 and 0.66**, and the mean log-probability alone is
    better in all five (0.55 to 0.84): prove a selection before training on it. NOD is close to length (Spearman
    0.77 to 0.96 of -NOD with response tokens): compare it with `longest`. See ``reports/method-faults.md``.
    In our proof on the demo's pool it was better than random (`reports/proof-demo.md`: -0.094 nats a token).

    The paper's text was not available to us. Taken from its reviews and a summary: the directions,
    and TOPSIS. Ours: equal weights, scaling by length (the textbook's), and all that the scorer
    says about the step. Its reviews speak of keeping 20 to 30%.

    Parameters
    ----------
    don_sign
        ``after_minus_before``: steps that grow the norm are good. ``before_minus_after`` inverts
        the criterion; it needs the scores of that sign.
    layers
        Weights whose change counts: those of the ``head`` alone, from the shared pass, or ``all``,
        by the scorer ``donod-layers``, which takes a backward pass.
    weights
        Of DON and of NOD, at least 0; only their ratio counts.
    winsorize
        Share of the examples at each end of a column whose values are replaced by those at its
        border, so that outliers do not set the scale; 0.001 is enough for a few. 0: none, as in
        TOPSIS.

    References
    ----------
    .. [1] Hu et al., DONOD: Robust and Generalizable Instruction Fine-Tuning for LLMs via
       Model-Intrinsic Dataset Pruning, 2025. https://arxiv.org/abs/2504.14810
    .. [2] Hwang and Yoon, Multiple Attribute Decision Making: Methods and Applications, 1981.

    Examples
    --------
    >>> columns = {"donod.don": np.array([1.0, 2.0, 3.0]), "donod.nod": np.array([3.0, 1.0, 2.0])}
    >>> view = View(np.array([b"a", b"b", b"c"]), columns)
    >>> DONOD().select(view, Budget(2), np.random.default_rng(0)).gains.round(6).tolist()
    [0.690983, 0.690983]
    """

    name: ClassVar[str] = "donod"
    purpose: ClassVar[str] = "quality and difficulty"
    experimental: ClassVar[str] = (
        "reconstructed from secondary sources; the sign of DON is unconfirmed"
    )
    don_sign: Literal["before_minus_after", "after_minus_before"] = "after_minus_before"
    layers: Literal["head", "all"] = "head"
    weights: tuple[float, float] = (0.5, 0.5)
    winsorize: float = 0.0

    def __post_init__(self) -> None:
        if not (min(self.weights) >= 0 and 0 < sum(self.weights) < np.inf):
            raise ConfigError(
                f"donod.weights must be two numbers of 0 or more, not both 0, got {self.weights}; "
                "try --set donod.weights=0.5,0.5"
            )
        if not 0 <= self.winsorize < 0.5:
            raise ConfigError(
                f"donod.winsorize is a share from 0 to below 0.5, got {self.winsorize!r}; try 0.001"
            )

    def requires(self) -> Mapping[str, Need | Expression]:
        scorer = "donod" if self.layers == "head" else "donod-layers"
        return {"donod": Need(scorer, "target", {"don_sign": self.don_sign})}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        don, nod = view.scores("donod.don"), view.scores("donod.nod")
        rows = np.flatnonzero(np.isfinite(don) & np.isfinite(nod))
        n_undefined = len(view) - len(rows)
        excluded = {"DON or NOD is not finite": n_undefined} if n_undefined else {}
        closeness = topsis(
            winsorized(don[rows], self.winsorize), winsorized(nod[rows], self.winsorize),
            self.weights,
        )  # fmt: skip
        order = np.argsort(-closeness, kind="stable")
        considered = replace(view, excluded={**view.excluded, **excluded})
        indices = keep_within(rows[order], budget, considered)
        gains = closeness[order[: len(indices)]]
        reasons = [
            f"closeness {c:.6g} (DON {d:.6g}, NOD {n:.6g})"
            for c, d, n in zip(
                gains.tolist(), don[indices].tolist(), nod[indices].tolist(), strict=True
            )
        ]
        return Selection(indices, gains, None, reasons, excluded)


def topsis(
    benefit: Float[np.ndarray, " n"], cost: Float[np.ndarray, " n"], weights: tuple[float, float]
) -> Float[np.ndarray, " n"]:
    """Return the closeness of each row to the ideal of a high benefit and a low cost, (n,).

    In [0, 1], higher is better; 0.5 where the best and the worst are the same. Six sums and
    extremes over the rows, then O(n).

    Examples
    --------
    >>> topsis(np.array([1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0]), (0.5, 0.5)).round(6).tolist()
    [0.0, 0.690983, 0.690983]
    """
    if len(benefit) == 0:
        return np.empty(0)
    gain, loss = weights[0] * _unit(benefit), weights[1] * _unit(cost)
    to_best = np.hypot(gain - gain.max(), loss - loss.min())
    to_worst = np.hypot(gain - gain.min(), loss - loss.max())
    total = to_best + to_worst
    closeness = np.full(len(total), INDIFFERENT)
    np.divide(to_worst, total, out=closeness, where=total > 0)
    return closeness


def winsorized(values: Float[np.ndarray, " n"], share: float) -> Float[np.ndarray, " n"]:
    """Return values with those beyond the quantiles ``share`` and ``1 - share`` moved to them."""
    if share == 0 or len(values) == 0:
        return values
    low, high = np.quantile(values, [share, 1 - share])
    return np.asarray(np.clip(values, low, high))


def _unit(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Scale a column to length one; a column of zeros stays."""
    largest = np.abs(values).max()
    if largest == 0:
        return values
    scaled = values / largest  # squares of ordinary DONs would be near the smallest float
    return np.asarray(scaled / np.linalg.norm(scaled))
