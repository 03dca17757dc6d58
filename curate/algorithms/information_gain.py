"""The information of a set of examples over labels, maximised by a lazy greedy algorithm."""

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SCALE: Final = 1e9  # gains are compared to 9 decimals: rounding decides no tie
ROUNDED_BELOW: Final = 1e6  # a float above has too few decimals to round
AT_ONCE: Final = 16_384  # rows in the heap of bounds; all others are evaluated together
_Bound: TypeAlias = tuple[float, int]  # minus what a row adds at most, and the row
Gain: TypeAlias = Literal["first-order", "exact"]


@final
@dataclass(frozen=True, slots=True)
class Information:
    """What a label is worth once picks have given it ``x``: (x + offset)^power, which grows ever slower.

    Examples
    --------
    >>> round(float(Information().slope(np.zeros(1))[0]), 3)
    12.679
    """

    power: float = 0.8
    offset: float = 1e-6

    def __call__(self, x: Float[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
        """Return the worth of labels."""
        worth: Float[np.ndarray, " l"] = (x + self.offset) ** self.power
        return worth

    def slope(self, x: Float[np.ndarray, " l"]) -> Float[np.ndarray, " l"]:
        """Return how fast it grows."""
        slope: Float[np.ndarray, " l"] = self.power * (x + self.offset) ** (self.power - 1)
        return slope


@final
@dataclass(frozen=True, slots=True, eq=False)
class Informed:
    """Picks in order, what each added, and how often a row was evaluated."""

    picks: Int[np.ndarray, " k"]
    gains: Float[np.ndarray, " k"]
    n_evaluated: int


def greedy_information(
    values: "csr_matrix",
    weights: Float[np.ndarray, " n"],
    enough: float,
    *,
    information: Information,
    gain: Gain,
) -> Informed:
    """Pick, one after the other, the row that adds most to the information over all labels.

    Exactly the picks of the greedy algorithm that evaluates every row before each pick; of rows whose
    gains agree to 9 decimals the first. With values of at least 0 a row can only add less as more is
    picked, so what it added when last evaluated is a bound. The rows of the highest bounds are in a
    heap, and those on its top are evaluated again; once it is worse than the best bound outside, every
    row is evaluated at once and the heap is filled anew. O(entries) each time that happens, and for
    each evaluation in the heap the row's entries and O(log `AT_ONCE`).

    Parameters
    ----------
    values
        What each row gives each label, at least 0, sparse, (n, L).
    weights
        What each row spends of ``enough``: 1, or its tokens.
    enough
        Stops once the picks' weights add up to it, or no row is left.
    gain
        ``first-order``: the row times the slope at what was picked; ``exact``: the difference.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> rows = csr_matrix(np.array([[1.0, 1.0, 0.0], [1.0, 0.9, 0.0], [0.0, 0.0, 1.8]]))
    >>> plain = Information()
    >>> greedy_information(rows, np.ones(3), 2, information=plain, gain="exact").picks.tolist()
    [0, 2]
    """
    starts, columns, given = values.indptr, values.indices, values.data
    n, n_labels = values.shape
    held = _Held(np.zeros(n_labels), information.slope(np.zeros(n_labels)), information, gain)
    left = np.ones(n, dtype=bool)
    evaluated: dict[int, int] = {}  # how many were picked when a row of the heap was last evaluated
    heap: list[_Bound] = []
    outside: _Bound | None = None
    picks: list[int] = []
    gains: list[float] = []
    spent, n_evaluated = 0.0, 0
    while spent < enough:
        if not heap or (outside is not None and outside < heap[0]):
            if not left.any():
                break
            heap, outside = _highest(held.added_by_each(values), left)
            evaluated = dict.fromkeys((row for _, row in heap), len(picks))
            n_evaluated += int(left.sum())
        bound, top = heap[0]
        here = slice(starts[top], starts[top + 1])
        if bound and evaluated[top] < len(picks):  # nothing adds less than 0
            evaluated[top] = len(picks)
            n_evaluated += 1
            heapq.heapreplace(heap, (-held.added(columns[here], given[here]), top))
            continue
        heapq.heappop(heap)
        left[top] = False
        held.take(columns[here], given[here])
        picks.append(top)
        gains.append(-bound)
        spent += float(weights[top])
    return Informed(np.array(picks, dtype=np.int64), np.array(gains), n_evaluated)


def _highest(
    added: Float[np.ndarray, " n"], left: Bool[np.ndarray, " n"]
) -> tuple[list[_Bound], _Bound | None]:
    """Return the rows that add most as a heap, of equal ones the first, and the best row outside it."""
    rows = np.flatnonzero(left)
    bounds = -added[rows]
    if len(rows) > AT_ONCE:
        near = bounds <= np.partition(bounds, AT_ONCE)[AT_ONCE]
        rows, bounds = rows[near], bounds[near]
    order = np.argsort(bounds, kind="stable")[: AT_ONCE + 1]
    ordered = [*zip(bounds[order].tolist(), rows[order].tolist(), strict=True)]
    return ordered[:AT_ONCE], ordered[AT_ONCE] if len(ordered) > AT_ONCE else None


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """What picks have given each label, and the slope of the information there."""

    x: Float[np.ndarray, " l"]
    slopes: Float[np.ndarray, " l"]
    information: Information
    gain: Gain

    def added(self, columns: Int[np.ndarray, " e"], given: Float[np.ndarray, " e"]) -> float:
        """Return what a row would add, to 9 decimals."""
        if self.gain == "first-order":
            return _rounded(float(given @ self.slopes[columns]))
        x = self.x[columns]
        return _rounded(float((self.information(x + given) - self.information(x)).sum()))

    def take(self, columns: Int[np.ndarray, " e"], given: Float[np.ndarray, " e"]) -> None:
        """Add a row."""
        self.x[columns] += given
        self.slopes[columns] = self.information.slope(self.x[columns])

    def added_by_each(self, values: "csr_matrix") -> Float[np.ndarray, " n"]:
        """Return what each row would add, to 9 decimals."""
        if self.gain == "first-order":
            added: Float[np.ndarray, " n"] = values @ self.slopes
        else:
            x = self.x[values.indices]
            differences = self.information(x + values.data) - self.information(x)
            by_entry = values.copy()
            by_entry.data = differences
            added = np.asarray(by_entry.sum(axis=1)).ravel()
        small = np.abs(added) < ROUNDED_BELOW
        added[small] = np.rint(added[small] * SCALE) / SCALE
        return added


def _rounded(added: float) -> float:
    """Return a gain to 9 decimals, as `_Held.added_by_each` rounds."""
    return round(added * SCALE) / SCALE if abs(added) < ROUNDED_BELOW else added
