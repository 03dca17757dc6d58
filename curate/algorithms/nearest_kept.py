"""The nearest of some kept rows to each other one, by cosine."""

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.cosine import BLOCK_ROWS
from curate.algorithms.directions import unit_rows
from curate.contracts.view import Vectors


def nearest_kept(
    vectors: Vectors, rows: Int[np.ndarray, " n"], kept: Int[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return which kept row is nearest to each row, as a row of ``vectors``, and their cosine.

    Cosines are compared in single precision, by blocks, and that of the nearest is measured in double
    precision; of two equally near ones the first in ``kept`` is taken. O(n k dim) time, O(block^2 +
    block dim) memory.

    Parameters
    ----------
    vectors
        One per example, finite and longer than 0 where they are used.
    rows, kept
        Rows of them; at least one is kept.

    Examples
    --------
    >>> points = Vectors(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]))
    >>> nearest, cosine = nearest_kept(points, np.array([2]), np.array([0, 1]))
    >>> nearest.tolist(), cosine.tolist()
    ([1], [0.8])
    """
    best = np.full(len(rows), -np.inf, dtype=np.float32)
    nearest = np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(kept), BLOCK_ROWS):
        others = kept[start : start + BLOCK_ROWS]
        units = unit_rows(vectors.take(others)).astype(np.float32)
        for first in range(0, len(rows), BLOCK_ROWS):
            here = slice(first, first + BLOCK_ROWS)
            cosines = unit_rows(vectors.take(rows[here])).astype(np.float32) @ units.T
            at = cosines.argmax(axis=1)
            highest = cosines[np.arange(len(at)), at]
            nearer = highest > best[here]
            best[here] = np.where(nearer, highest, best[here])
            nearest[here] = np.where(nearer, others[at], nearest[here])
    exact = np.empty(len(rows))
    for first in range(0, len(rows), BLOCK_ROWS):
        here = slice(first, first + BLOCK_ROWS)
        pair = unit_rows(vectors.take(rows[here])), unit_rows(vectors.take(nearest[here]))
        exact[here] = np.einsum("ij,ij->i", *pair)
    return nearest, exact
