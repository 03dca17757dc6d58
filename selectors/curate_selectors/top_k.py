"""The best examples by any score, over the whole pool or inside each group."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    first_in_order,
    keep_within,
    places_in_group,
    register,
    sort_within,
)


@register
@final
@dataclass(frozen=True)
class TopK(Selector):
    """The examples that rank first by an expression over scores.

    Gains are the values of the expression. Examples where it is null, NaN or infinite are left out
    and counted; ties go to the smaller id. O(n log n).

    Parameters
    ----------
    rank
        Expression over the columns of any scorer, such as ``likelihood.mean_logp`` or
        ``length.response_tokens / n_chars``. Highest first.
    ascending
        Lowest first instead.
    per_group
        Take at most this many of the responses to one prompt: first the best of every group, in
        order of score, then the second best of every group, and so on. Without a budget all of
        these are taken.

    Examples
    --------
    >>> view = View(np.array([b"a", b"b", b"c"]), {"rank": np.array([0.1, np.nan, 0.7])})
    >>> TopK("quality.score").select(view, Budget(1), np.random.default_rng(0)).indices.tolist()
    [2]
    """

    name: ClassVar[str] = "top-k"
    purpose: ClassVar[str] = "baselines and parts of other methods"
    budget_optional: ClassVar[bool] = True
    rank: str
    ascending: bool = False
    per_group: int | None = None

    def __post_init__(self) -> None:
        if not self.rank.strip():
            raise ConfigError(
                "top-k needs an expression to rank by; pass --rank EXPR, "
                "such as --rank likelihood.mean_logp"
            )
        if self.per_group is not None and self.per_group < 1:
            raise ConfigError(
                f"top-k.per_group={self.per_group} keeps nothing; give at least 1, or none"
            )

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"rank": Expression(self.rank)}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None and self.per_group is None:
            raise BudgetError(
                "top-k needs a budget unless per_group is set; "
                "add --budget 10%, 5000 or 2Mtok, or --set top-k.per_group=1"
            )
        values = view.scores("rank")
        finite = np.flatnonzero(np.isfinite(values))
        keys = values[finite] if self.ascending else -values[finite]
        excluded = {"rank is null or not finite": len(view) - len(finite)}
        places = None
        if self.per_group is None:
            ranking = finite[first_in_order(keys, self._n_wanted(finite, budget, view))]
        else:
            ranking, places = rank_rows(keys, view.group_codes()[finite], self.per_group)
            ranking = finite[ranking]
            beyond = f"beyond the first {self.per_group} of its group"
            excluded[beyond] = len(finite) - len(ranking)
        excluded = {reason: count for reason, count in excluded.items() if count}
        considered = replace(view, excluded={**view.excluded, **excluded})
        indices = keep_within(ranking, budget, considered)
        gains = values[indices]
        reasons = [f"{self.rank} = {value:.6g}" for value in gains.tolist()]
        if places is not None:
            reasons = [
                f"{reason}, place {place} of its group"
                for reason, place in zip(reasons, places[: len(indices)].tolist(), strict=True)
            ]
        return Selection(
            indices, gains, None, reasons, excluded, self._ties(values[finite], indices)
        )

    def _n_wanted(self, rows: Int[np.ndarray, " m"], budget: Budget | None, view: View) -> int:
        """Return how many of the rows a budget can take; all where it counts tokens."""
        if budget is None or budget.counts_tokens:
            return len(rows)
        return min(budget.limit(view), len(rows))  # one that asks for more is refused later

    def _ties(
        self, values: Float[np.ndarray, " n"], kept: Int[np.ndarray, " m"]
    ) -> tuple[str, ...]:
        if len(kept) == len(values) or len(values) < 2 or (values != values[0]).any():
            return ()
        warning = (
            f"--rank {self.rank} is {values[0]:.6g} for all {len(values):,} examples: the "
            f"{len(kept):,} taken are those with the smallest ids"
        )
        return (warning,)


def rank_rows(
    keys: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"], per_group: int
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Order rows by ascending key round by round over groups; also return their places."""
    _, places, _ = places_in_group(keys, groups)
    ranking = sort_within(keys, places)[: int((places <= per_group).sum())]
    return ranking, places[ranking]
