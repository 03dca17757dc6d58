"""How near each vector is to the centroid of its cluster: what SSL prototypes choose by."""

import numpy as np
from jaxtyping import Float

from curate.algorithms.directions import unit_rows
from curate.algorithms.kmeans import Clusters
from curate.contracts.view import Vectors


def centroid_cosines(vectors: Vectors, clusters: Clusters) -> Float[np.ndarray, " n"]:
    """Return the cosine of each vector with the centroid of its cluster, to 9 decimals.

    Double precision, in blocks; O(n dim).

    Examples
    --------
    >>> points = np.array([[2.0, 0.0], [3.0, 4.0]])
    >>> one = Clusters(np.zeros(2, dtype=int), np.zeros(2), np.array([[1.0, 0.0]]))
    >>> centroid_cosines(Vectors(points), one).tolist()
    [1.0, 0.6]
    """
    result = np.empty(len(vectors))
    for start, block in vectors.blocks():
        here = slice(start, start + len(block))
        own = unit_rows(clusters.centroids[clusters.codes[here]])
        result[here] = np.einsum("bd,bd->b", unit_rows(block), own)
    return result.round(9)
