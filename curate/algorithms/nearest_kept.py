"""Rows with a direction, and the nearest of some kept rows to each other one, by cosine."""

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.algorithms.cosine import BLOCK_ROWS
from curate.contracts.view import Vectors


def have_direction(vectors: Vectors) -> tuple[Bool[np.ndarray, " n"], dict[str, int]]:
    """Return which vectors are finite and longer than 0, and how many others there are, by reason."""
    is_finite = np.zeros(len(vectors), dtype=bool)
    has_length = np.zeros(len(vectors), dtype=bool)
    for start, block in vectors.blocks():
        here = slice(start, start + len(block))
        is_finite[here] = np.isfinite(block).all(axis=1)
        has_length[here] = (block != 0).any(axis=1)
    lacks = {
        "embedding is not finite": int((~is_finite).sum()),
        "embedding has length 0": int((is_finite & ~has_length).sum()),
    }
    return is_finite & has_length, {reason: n for reason, n in lacks.items() if n}


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
        units = _unit(vectors.take(others)).astype(np.float32)
        for first in range(0, len(rows), BLOCK_ROWS):
            here = slice(first, first + BLOCK_ROWS)
            cosines = _unit(vectors.take(rows[here])).astype(np.float32) @ units.T
            at = cosines.argmax(axis=1)
            highest = cosines[np.arange(len(at)), at]
            nearer = highest > best[here]
            best[here] = np.where(nearer, highest, best[here])
            nearest[here] = np.where(nearer, others[at], nearest[here])
    exact = np.empty(len(rows))
    for first in range(0, len(rows), BLOCK_ROWS):
        here = slice(first, first + BLOCK_ROWS)
        pair = _unit(vectors.take(rows[here])), _unit(vectors.take(nearest[here]))
        exact[here] = np.einsum("ij,ij->i", *pair)
    return nearest, exact


def _unit(block: Float[np.ndarray, "b dim"]) -> Float[np.ndarray, "b dim"]:
    exact = block.astype(np.float64)
    unit: Float[np.ndarray, "b dim"] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit
