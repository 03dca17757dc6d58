"""Facility location on a graph of nearest neighbours, maximised by a lazy greedy algorithm."""

import heapq
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.neighbours import BLOCK_ROWS, nearest_neighbours
from curate.contracts.view import Vectors

SCALE: Final = 10**9  # similarities are whole multiples of 1e-9: sums of them have no rounding


@final
@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """How similar each row's nearest neighbours are to it, listed by neighbour; 0 for all others.

    Parameters
    ----------
    starts
        Where the list of each row begins, and the end of the last, (n + 1,).
    rows
        For each entry of the list of ``j``, a row that has ``j`` among its nearest, or ``j`` itself.
    similarities
        Of that row with ``j``, in billionths, at least 0; a row's with itself is a whole.
    """

    starts: Int[np.ndarray, " n1"]
    rows: Int[np.ndarray, " edges"]
    similarities: Int[np.ndarray, " edges"]

    @classmethod
    def of(cls, vectors: Vectors, k: int, *, block: int = BLOCK_ROWS) -> "NeighbourGraph":
        """Return the graph of the ``k`` nearest by cosine, to 9 decimals; a negative cosine is 0.

        O(n^2 dim) time, O(n k + block^2) memory.

        Parameters
        ----------
        vectors
            Finite, longer than 0, (n, dim).
        k
            Neighbours of each row, itself not counted; all others where there are not so many.
        block
            Vectors compared with as many others at once.
        """
        n = len(vectors)
        nearest, far = nearest_neighbours(vectors, min(k, n - 1), unit=True, block=block)
        cosines = np.maximum(1 - far**2 / 2, 0.0)  # of a chord between vectors of length 1
        found = np.rint(cosines * SCALE).astype(np.int32)
        neighbours = np.concatenate([np.arange(n)[:, None], nearest], axis=1).ravel()
        similarities = np.concatenate([np.full((n, 1), SCALE, np.int32), found], axis=1).ravel()
        order = np.argsort(neighbours, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(neighbours, minlength=n))])
        rows = (order // (nearest.shape[1] + 1)).astype(np.int32)
        return cls(starts, rows, similarities[order])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def totals(self) -> Int[np.ndarray, " n"]:
        """Return what each row is worth while nothing is picked, in billionths."""
        return np.add.reduceat(self.similarities, self.starts[:-1], dtype=np.int64)

    def column(self, j: int) -> tuple[Int[np.ndarray, " e"], Int[np.ndarray, " e"]]:
        """Return the rows that are similar to ``j``, each once, and how much."""
        here = slice(self.starts[j], self.starts[j + 1])
        return self.rows[here], self.similarities[here]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Picks in order, what each adds, and each row's similarity to the most similar pick, 0 to 1."""

    picks: Int[np.ndarray, " k"]
    gains: Float[np.ndarray, " k"]
    covered: Float[np.ndarray, " n"]


def facility_location(
    graph: NeighbourGraph, weights: Float[np.ndarray, " n"], enough: float
) -> Located:
    """Pick, one after the other, the row that adds most to the sum of all rows' best similarities.

    Exactly the picks of the greedy algorithm that evaluates every row before each pick; of equal
    ones the first. A row can only add less as more is picked, so what it added when it was last
    evaluated is a bound: rows wait in a heap by their bounds, and only those on top are evaluated
    again. O(edges + n log n) and, for each evaluation, the row's entries and O(log n); there
    are as many evaluations as the data demands, as a rule some tens for each pick.

    Parameters
    ----------
    weights
        What each row spends of ``enough``: 1, or its tokens.
    enough
        Stops once the picks' weights add up to it, or no row is left.

    Examples
    --------
    >>> points = Vectors(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [0.0, 1.0]]))
    >>> located = facility_location(NeighbourGraph.of(points, 3), np.ones(4), 2)
    >>> located.picks.tolist(), located.covered.round(3).tolist()
    ([1, 3], [0.995, 1.0, 0.98, 1.0])
    """
    n = len(graph)
    covered = np.zeros(n, dtype=np.int32)
    evaluated = np.zeros(n, dtype=np.int64)  # how many were picked when it was last evaluated
    heap = [(-total, row) for row, total in enumerate(graph.totals().tolist())]
    heapq.heapify(heap)
    picks: list[int] = []
    gains: list[int] = []
    spent = 0.0
    while heap and spent < enough:
        bound, top = heap[0]
        near, similarities = graph.column(top)
        if evaluated[top] < len(picks):
            added = int(np.maximum(similarities - covered[near], 0).sum(dtype=np.int64))
            evaluated[top] = len(picks)
            heapq.heapreplace(heap, (-added, top))
            continue
        heapq.heappop(heap)
        covered[near] = np.maximum(covered[near], similarities)
        picks.append(top)
        gains.append(-bound)
        spent += float(weights[top])
    return Located(
        np.array(picks, dtype=np.int64), np.array(gains, dtype=np.float64) / SCALE, covered / SCALE
    )
