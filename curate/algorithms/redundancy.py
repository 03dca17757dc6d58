"""How near each row of a cluster is to those before it: what SemDeDup removes by."""

from typing import Final

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.directions import unit_rows
from curate.contracts.view import Vectors

TILE: Final = 2_048
FIRST: Final = -1.0  # of a row with none before it: as if the others pointed the other way


def highest_before(
    vectors: Vectors,
    rows: Int[np.ndarray, " n"],
    codes: Int[np.ndarray, " n"],
    centroids: Float[np.ndarray, "k dim"],
) -> Float[np.ndarray, " n"]:
    """Return the highest cosine of each row with a row of its cluster that comes before it, to 12 digits.

    Within a cluster rows come by rising cosine with the centroid, so those least typical of it first,
    and equal ones in the order given. -1 for the first of each cluster. Double precision, in tiles of the
    lower triangle: O(sum of squared sizes dim), and one cluster in memory at a time.

    Parameters
    ----------
    vectors
        One per example, finite and longer than 0 in ``rows``.
    rows, codes
        Rows to compare, and the cluster of each.
    centroids
        One per cluster.

    Examples
    --------
    >>> points = Vectors(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    >>> same = np.zeros(3, dtype=int)
    >>> highest_before(points, np.arange(3), same, np.array([[1.0, 0.0]])).tolist()
    [0.0, 1.0, -1.0]
    """
    result = np.full(len(rows), FIRST)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        units = unit_rows(vectors.take(rows[members]))
        centroid = centroids[codes[members[0]]].astype(np.float64)
        by_centroid = np.argsort((units @ centroid).round(12), kind="stable")
        members, units = members[by_centroid], units[by_centroid]
        for start in range(0, len(members), TILE):
            here = units[start : start + TILE]
            inside = np.tril(here @ here.T, -1)
            inside[np.triu_indices(len(here))] = FIRST
            highest = inside.max(axis=1)
            for before in range(0, start, TILE):
                earlier = here @ units[before : before + TILE].T
                highest = np.maximum(highest, earlier.max(axis=1))
            result[members[start : start + TILE]] = highest.round(12)
    return result
