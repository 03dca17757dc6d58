"""Farthest-first traversal: each pick is the row farthest from all picked before it."""

from typing import Final

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.directions import unit_rows
from curate.contracts.view import Vectors

BLOCK_ROWS: Final = 8_192


def farthest_first(
    vectors: Vectors,
    rows: Int[np.ndarray, " n"],
    first: int,
    *,
    unit: bool,
    weights: Float[np.ndarray, " n"],
    enough: float,
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return picks, as places in ``rows``, and the distance of each to the nearest one before it.

    Stops once the picks' weights add up to ``enough``, or no row is left. Of equally far rows the
    first is taken. The first pick's distance is that of the row farthest from it. Euclidean, from
    differences in single precision, so that equal rows are at distance 0. O(n k dim) time; the
    vectors of ``rows`` are held in memory, 4 bytes a component.

    Parameters
    ----------
    vectors
        One per example, finite in ``rows``, and longer than 0 where ``unit``.
    first
        Place of the first pick.
    unit
        Whether vectors are scaled to length 1, so that distances order as cosines do.
    weights
        What each row spends of ``enough``: 1, or its tokens.

    Examples
    --------
    >>> points = Vectors(np.array([[0.0], [1.0], [5.0], [9.0]]))
    >>> picks, far = farthest_first(
    ...     points, np.arange(4), 0, unit=False, weights=np.ones(4), enough=3)
    >>> picks.tolist(), far.tolist()
    ([0, 3, 2], [9.0, 9.0, 4.0])
    """
    held = np.empty((len(rows), vectors.dim), dtype=np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = vectors.take(rows[start : start + BLOCK_ROWS])
        held[start : start + BLOCK_ROWS] = unit_rows(block) if unit else block
    nearest = np.full(len(rows), np.inf, dtype=np.float32)
    taken = np.zeros(len(rows), dtype=bool)
    picks: list[int] = []
    squared: list[float] = []
    spent, pick = 0.0, first
    while len(picks) < len(rows):
        squared.append(float(nearest[pick]))
        picks.append(pick)
        taken[pick] = True
        spent += float(weights[pick])
        for start in range(0, len(rows), BLOCK_ROWS):
            here = slice(start, start + BLOCK_ROWS)
            apart = held[here] - held[pick]
            nearest[here] = np.minimum(nearest[here], np.einsum("ij,ij->i", apart, apart))
        if len(picks) == 1:
            squared[0] = float(nearest.max())
        if spent >= enough:
            break
        pick = int(np.where(taken, -1.0, nearest).argmax())
    return np.array(picks, dtype=np.int64), np.sqrt(np.array(squared))
