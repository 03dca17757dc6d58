"""Choosing towards a target set: its examples take turns, or each candidate counts by its best.

Scores come in blocks, candidates by target examples, and are never all in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, final

import numpy as np
from jaxtyping import Bool, Float, Int

DECIMALS: Final = 10  # scores that agree this far are equal, and the smaller row comes first
COLUMNS: Final = 1_024  # target examples scored together
ENTRIES: Final = 1 << 24  # scores of a block
LISTED: Final = 1 << 23  # candidates kept of all target examples together
WINDOW: Final = 256  # turns that are looked after at once when one has run out
SHORTEST: Final = 32  # candidates listed of a target example, at least


class TargetScores(Protocol):
    """How near each candidate is to each example of a target set; higher is nearer, and finite."""

    @property
    def n_rows(self) -> int:
        """Number of candidates."""

    @property
    def n_targets(self) -> int:
        """Number of target examples."""

    def block(
        self, rows: Int[np.ndarray, " b"], targets: Int[np.ndarray, " t"]
    ) -> Float[np.ndarray, "b t"]:
        """Return the scores of some candidates with some target examples, in double precision."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Picks:
    """Candidates in the order in which they are chosen, and for which target example each was.

    Parameters
    ----------
    rows
        Candidates, without repeats, (k,).
    targets
        The target example each was chosen for, (k,).
    values
        Their scores with it, rounded to 10 decimals, (k,).
    """

    rows: Int[np.ndarray, " k"]
    targets: Int[np.ndarray, " k"]
    values: Float[np.ndarray, " k"]


def by_turns(scores: TargetScores, order: Int[np.ndarray, " m"], n: int) -> Picks:
    """Let target examples take turns, each its nearest candidate that is left, until n are taken.

    Exact: as if every target example ranked all candidates. Only the nearest few of each are kept,
    and more are looked for when they are used up. Ties go to the smaller row. The picks of a smaller
    ``n`` are the first of a larger one. O(n_rows n_targets) scores, as a rule once, and
    O(n_targets) memory beyond a block.

    Parameters
    ----------
    order
        Turns of the target examples, each once.
    n
        How many to take, at most ``scores.n_rows``.
    """
    lists = _Lists.nearest(scores, order, n)
    rows: list[int] = []
    turns: list[int] = []
    values: list[float] = []
    turn = 0
    while len(rows) < n:
        pick = lists.take(turn)
        if pick is None:
            lists.refill(turn)
            continue
        rows.append(pick[0])
        values.append(pick[1])
        turns.append(turn)
        turn = (turn + 1) % len(order)
    return Picks(np.array(rows, np.int64), order[np.array(turns, np.int64)], np.array(values))


def by_best(scores: TargetScores) -> Picks:
    """Rank all candidates by their highest score with any target example; ties go to the smaller row.

    O(n_rows n_targets), and O(n_rows) memory beyond a block.
    """
    best = np.full(scores.n_rows, -np.inf)
    which = np.zeros(scores.n_rows, dtype=np.int64)
    everything = np.arange(scores.n_rows), np.arange(scores.n_targets)
    for rows, first, block in _blocks(scores, *everything):
        at = block.argmax(axis=1)
        values = block[np.arange(len(rows)), at].round(DECIMALS)
        better = values > best[rows]
        best[rows[better]] = values[better]
        which[rows[better]] = first + at[better]
    ranking = np.argsort(-best, kind="stable")
    return Picks(ranking, which[ranking], best[ranking])


@final
class _Lists:
    """The nearest candidates of every target example that were free when it was listed."""

    def __init__(self, scores: TargetScores, order: Int[np.ndarray, " m"]) -> None:
        self._scores = scores
        self._order = order
        self._used = np.zeros(scores.n_rows, dtype=bool)
        self._taken = bytearray(scores.n_rows)
        self._rows: list[list[int]] = [[] for _ in order]
        self._values: list[list[float]] = [[] for _ in order]
        self._next = [0] * len(order)

    @classmethod
    def nearest(cls, scores: TargetScores, order: Int[np.ndarray, " m"], n: int) -> "_Lists":
        made = cls(scores, order)
        made._list(np.arange(len(order)), max(SHORTEST, 2 * n // max(len(order), 1)))
        return made

    def take(self, turn: int) -> tuple[int, float] | None:
        """Return the nearest free candidate of a turn, and take it; None if none is listed."""
        rows, at = self._rows[turn], self._next[turn]
        while at < len(rows) and self._taken[rows[at]]:
            at += 1
        self._next[turn] = at + 1
        if at == len(rows):
            return None
        self._taken[rows[at]] = 1
        return rows[at], self._values[turn][at]

    def refill(self, turn: int) -> None:
        """List more for a turn, and for those of the next turns that are about to run out too.

        At least twice as many as before, and more than these turns take from each other.
        """
        self._used = np.frombuffer(bytes(self._taken), dtype=bool)
        n = len(self._order)
        coming = [(turn + ahead) % n for ahead in range(min(WINDOW, n))]
        short = [later for later in coming if later == turn or self._n_free(later) < SHORTEST // 2]
        self._list(np.array(short), 2 * max(len(self._rows[turn]), len(short)))

    def _n_free(self, turn: int) -> int:
        """Return how many of the candidates listed for a turn are free."""
        return sum(not self._taken[row] for row in self._rows[turn][self._next[turn] :])

    def _list(self, turns: Int[np.ndarray, " t"], depth: int) -> None:
        free = np.flatnonzero(~self._used)
        depth = min(len(free), max(SHORTEST, min(depth, LISTED // max(len(turns), 1))))
        rows, values = nearest(self._scores, free, self._order[turns], depth)
        for turn, row, value in zip(turns.tolist(), rows.tolist(), values.tolist(), strict=True):
            self._rows[turn], self._values[turn], self._next[turn] = row, value, 0


def nearest(
    scores: TargetScores,
    rows: Int[np.ndarray, " n"],
    targets: Int[np.ndarray, " t"],
    k: int,
) -> tuple[Int[np.ndarray, "t k"], Float[np.ndarray, "t k"]]:
    """Return the k nearest of some candidates for each of some target examples, nearest first.

    Ties, after rounding to 10 decimals, go to the candidate that comes first in ``rows``, which is
    ascending. ``k`` is at most ``len(rows)``. What is found is put among the best once there is as
    much of it as they are, so that many blocks cost no more than few.
    """
    best = np.full((len(targets), k), -np.inf)  # each falling
    neighbours = np.full((len(targets), k), -1)
    found: list[tuple[Int[np.ndarray, " h"], Int[np.ndarray, " h"], Float[np.ndarray, " h"]]] = []
    for some, first, block in _blocks(scores, rows, targets):
        worst = best[first : first + block.shape[1], -1]
        hits = block > worst - 0.5 * 10.0**-DECIMALS
        if hits.sum() > 4 * k * block.shape[1]:
            hits = _first_of(block.round(DECIMALS), min(k, len(some)))
        row, column = np.nonzero(hits)
        found.append((first + column, some[row], block[row, column].round(DECIMALS)))
        if sum(len(columns) for columns, _, _ in found) >= best.size:
            _merge(best, neighbours, *map(np.concatenate, zip(*found, strict=True)))
            found.clear()
    if found:
        _merge(best, neighbours, *map(np.concatenate, zip(*found, strict=True)))
    return neighbours, best


def _blocks(
    scores: TargetScores, rows: Int[np.ndarray, " n"], targets: Int[np.ndarray, " m"]
) -> Iterator[tuple[Int[np.ndarray, " b"], int, Float[np.ndarray, "b t"]]]:
    """Yield candidates, the place of the first of some target examples, and their scores."""
    for first in range(0, len(targets), COLUMNS):
        some = targets[first : first + COLUMNS]
        height = max(1, min(65_536, ENTRIES // len(some)))
        for start in range(0, len(rows), height):
            here = rows[start : start + height]
            yield here, first, scores.block(here, some)


def _first_of(block: Float[np.ndarray, "b t"], k: int) -> Bool[np.ndarray, "b t"]:
    """Return which are the k highest of each column, of equal ones those that come first."""
    least = -np.partition(-block, k - 1, axis=0)[k - 1]
    above, equal = block > least, block == least
    left = k - above.sum(axis=0)
    taken: Bool[np.ndarray, "b t"] = above | (equal & (equal.cumsum(axis=0) <= left))
    return taken


def _merge(
    best: Float[np.ndarray, "t k"],
    neighbours: Int[np.ndarray, "t k"],
    column: Int[np.ndarray, " h"],
    rows: Int[np.ndarray, " h"],
    values: Float[np.ndarray, " h"],
) -> None:
    """Put further candidates among the best of their target examples, in place."""
    if not len(column):
        return
    k = best.shape[1]
    affected = np.unique(column)
    known = neighbours[affected] >= 0
    columns = np.concatenate([np.repeat(affected, known.sum(axis=1)), column])
    numbers = np.concatenate([neighbours[affected][known], rows])
    scored = np.concatenate([best[affected][known], values])
    order = np.lexsort((numbers, -scored, columns))
    columns, numbers, scored = columns[order], numbers[order], scored[order]
    first = np.searchsorted(columns, columns)
    place = np.arange(len(columns)) - first
    kept = place < k
    best[columns[kept], place[kept]] = scored[kept]
    neighbours[columns[kept], place[kept]] = numbers[kept]
