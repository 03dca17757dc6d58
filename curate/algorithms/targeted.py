"""What methods that select towards a target set have in common, whatever they compare by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import numpy as np
from jaxtyping import Int

from curate.algorithms.round_robin import Picks, TargetScores, by_best, by_turns
from curate.contracts import Budget, Selection, View, keep_within
from curate.contracts.budget import most_picks, refuse_over
from curate.errors import BudgetError

AT_ONCE: Final = 1 << 22  # numbers of lists that are looked at together
STRANGE: Final = 0.5  # share of a target set's words beyond which it is probably another language
Aggregate: TypeAlias = Literal["round-robin", "max"]


def select_by_scores(
    method: str,
    scores: TargetScores,
    view: View,
    rows: Int[np.ndarray, " n"],
    budget: Budget | None,
    rng: np.random.Generator,
    *,
    aggregate: Aggregate,
    measure: str,
    excluded: Mapping[str, int],
    warnings: tuple[str, ...] = (),
    targets: Int[np.ndarray, " m"] | None = None,
    summed: bool = False,
) -> Selection:
    """Choose towards a target set by scores of candidates with its examples.

    Parameters
    ----------
    rows
        Row of the view that each candidate is.
    aggregate
        ``round-robin``: target examples, in an order drawn from ``rng``, take turns; ``max``: candidates
        by their highest score.
    measure
        What the scores are, for the reasons.
    targets
        Row of the target's view that each target example is; all of them by default.
    summed
        Whether the one target example of ``scores`` is the sum of all.
    """
    if budget is None:
        raise BudgetError(f"{method} needs a budget; add --budget 10%, 5000 or 2Mtok")
    order = rng.permutation(scores.n_targets)
    considered = replace(view, excluded={**view.excluded, **excluded})
    refuse_over(rows, budget, considered)
    picks = (
        by_best(scores)
        if aggregate == "max"
        else by_turns(scores, order, most_picks(budget, view, rows))
    )
    indices = keep_within(rows[picks.rows], budget, considered)
    names = view.towards().ids if targets is None else view.towards().ids[targets]
    whose = [f"target example {name.decode()[:12]}" for name in names.tolist()]
    if summed:
        whose = [f"all {len(names):,} target examples together"]
    reasons = _reasons(picks, whose, len(indices), measure)
    gains = picks.values[: len(indices)]
    return Selection(indices, gains, None, reasons, excluded, warnings)


def another_language(unknown: float, what: str, where: str) -> tuple[str, ...]:
    """Warn of a target set of which the pool has too little: ``unknown`` is the share it has not."""
    if unknown <= STRANGE:
        return ()
    warning = (
        f"{unknown:.0%} of the {what} of the target set are in no {where} of the pool: it may be "
    )
    return (f"{warning}in another language",)


def _reasons(picks: Picks, whose: Sequence[str], n: int, measure: str) -> list[str]:
    return [
        f"{measure} {value:.6g} with {whose[target]}"
        for target, value in zip(picks.targets[:n].tolist(), picks.values[:n].tolist(), strict=True)
    ]


def flat_lists(view: View, column: str) -> tuple[Int[np.ndarray, " total"], Int[np.ndarray, " n"]]:
    """Return a column of lists of whole numbers end to end, and the length of each list."""
    if column in view.vectors_by_column:  # lists of one length
        stored = view.vectors(column)
        flat = stored.take(np.arange(len(stored))).ravel()
        return flat, np.full(len(view), stored.dim)
    lists = view.column(column)
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return np.concatenate([np.empty(0, np.int32), *lists]), lengths


def list_blocks(lengths: Int[np.ndarray, " n"]) -> Iterator[tuple[slice, slice]]:
    """Yield rows, and where their lists lie among all lists end to end: some 4 million numbers each.

    So that what is made of the lists takes no memory beside them, however many there are.

    Examples
    --------
    >>> [(rows.stop, numbers.stop) for rows, numbers in list_blocks(np.array([3, 0, 2]))]
    [(3, 5)]
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    first = start = 0
    while first < len(lengths):
        last = max(first + 1, int(np.searchsorted(ends, start + AT_ONCE, side="right")))
        stop = int(ends[last - 1])
        yield slice(first, last), slice(start, stop)
        first, start = last, stop
