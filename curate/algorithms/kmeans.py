"""k-means by faiss, loaded at first use, with every setting that determines the clusters explicit."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.faiss_index import flat_index, load_faiss, n_cards
from curate.contracts.view import Vectors
from curate.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

BLOCK_ROWS: Final = 65_536


@final
@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The outcome of k-means.

    Parameters
    ----------
    codes
        Nearest centroid of each row, (n,); a centroid may have no row.
    distances
        Squared Euclidean distance to it, or the inner product with it where centroids are spherical, (n,).
    centroids
        One a cluster, (k, dim).
    """

    codes: Int[np.ndarray, " n"]
    distances: Float[np.ndarray, " n"]
    centroids: Float[np.ndarray, "k dim"]

    @property
    def sizes(self) -> Int[np.ndarray, " k"]:
        """Rows of each cluster."""
        return np.bincount(self.codes, minlength=len(self.centroids))


def kmeans(
    vectors: Vectors,
    n_clusters: int,
    *,
    seed: int,
    niter: int = 20,
    max_points_per_centroid: int = 256,
    spherical: bool = False,
) -> Clusters:
    """Cluster vectors by Euclidean k-means; every row is assigned, whatever was trained on.

    The same centroids as a bare ``faiss.Kmeans`` with these settings over all rows, but only the
    training rows are ever in memory together; the rest is read in blocks. With fewer rows than
    clusters there are as many clusters as rows. O(min(n, 256 k) k dim niter) for training and
    O(n k dim) for the assignment. On the machine's GPUs where faiss has its build for them: other
    centroids then, to rounding at first, and the same on the same cards.

    Parameters
    ----------
    vectors
        One a row, finite, (n, dim).
    n_clusters
        Centroids, at least 1.
    seed
        Determines the training rows and the initial centroids.
    niter
        Iterations of Lloyd's algorithm.
    max_points_per_centroid
        The centroids are trained on at most this many rows each, drawn with the seed.
    spherical
        Scale the centroids to length 1 after each iteration.

    Raises
    ------
    ConfigError
        No rows, or a setting below 1.
    MissingPackageError
        faiss is not installed.
    """
    for name, value in (
        ("n_clusters", n_clusters), ("niter", niter),
        ("max_points_per_centroid", max_points_per_centroid),
    ):  # fmt: skip
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value!r}")
    if len(vectors) == 0:
        raise ConfigError("there are no vectors to cluster; score some examples first")
    faiss = load_faiss("k-means")
    k = min(n_clusters, len(vectors))
    trained = faiss.Kmeans(
        vectors.dim, k, niter=niter, seed=seed, spherical=spherical,
        min_points_per_centroid=1, max_points_per_centroid=max_points_per_centroid,
        gpu=n_cards(),
    )  # fmt: skip
    trained.train(_training_rows(faiss, vectors, k * max_points_per_centroid, seed))
    codes = np.empty(len(vectors), dtype=np.int64)
    distances = np.empty(len(vectors), dtype=np.float32)
    for start, block in vectors.blocks(BLOCK_ROWS):
        stop = start + len(block)
        squared, nearest = trained.index.search(_matrix(block), 1)
        codes[start:stop], distances[start:stop] = nearest[:, 0], squared[:, 0]
    return Clusters(codes, distances, np.asarray(trained.centroids))


def nearest_centroids(
    vectors: Vectors, centroids: Float[np.ndarray, "k dim"], count: int
) -> tuple[Int[np.ndarray, "n count"], Float[np.ndarray, "n count"]]:
    """Find the nearest centroids of each row, read in blocks. O(n k dim).

    Returns
    -------
    codes, distances
        Nearest first: numbers of the centroids and squared Euclidean distances, (n, count) each.
    """
    index = flat_index(_matrix(centroids), count)
    codes = np.empty((len(vectors), count), dtype=np.int64)
    distances = np.empty((len(vectors), count), dtype=np.float32)
    for start, block in vectors.blocks(BLOCK_ROWS):
        here = slice(start, start + len(block))
        distances[here], codes[here] = index.search(_matrix(block), count)
    return codes, distances


def _training_rows(faiss: "ModuleType", vectors: Vectors, limit: int, seed: int) -> Any:
    """Return the rows faiss would draw for training, in the order in which it would."""
    n = len(vectors)
    if n <= limit:
        return _matrix(vectors.take(np.arange(n)))
    order = np.empty(n, dtype=np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), n, seed)
    return _matrix(vectors.take(order[:limit].astype(np.int64)))


def _matrix(block: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(block, dtype=np.float32)
