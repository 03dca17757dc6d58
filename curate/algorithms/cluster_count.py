"""Chooses the number of clusters: k-means over a grid of counts, judged by silhouette or elbow."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from jaxtyping import Int

from curate.algorithms.kmeans import Clusters, kmeans, nearest_centroids
from curate.contracts.view import Vectors

Judge = Literal["auto", "silhouette", "elbow"]

LARGEST: Final = 8_192
USUAL_SMALLEST: Final = 64
ROWS_PER_CLUSTER: Final = 20
SAMPLE_SIZE: Final = 10_000
SAMPLE_SEED: Final = 42


def choose_clusters(
    vectors: Vectors, judge: Judge, *, seed: int, niter: int, max_points_per_centroid: int
) -> Clusters:
    """Run k-means for every count of `count_grid` and return the clusters that are judged best.

    The smaller count wins a tie. The same seed serves every count. The time is that of all
    k-means of the grid, about twice that of its largest count.

    Parameters
    ----------
    vectors
        One a row, finite, at least one, (n, dim).
    judge
        ``auto``: `simplified_silhouette`. ``silhouette``: `silhouette`. ``elbow``: `elbow`.
    seed, niter, max_points_per_centroid
        Of `kmeans`.
    """

    def cluster(count: int) -> Clusters:
        return kmeans(
            vectors, count, seed=seed, niter=niter,
            max_points_per_centroid=max_points_per_centroid,
        )  # fmt: skip

    grid = count_grid(len(vectors))
    if len(grid) == 1:
        return cluster(grid[0])
    if judge == "elbow":
        inertias = [float(cluster(k).distances.sum(dtype=np.float64)) for k in grid]
        return cluster(elbow(grid, inertias))
    if judge == "auto":
        return _best(map(cluster, grid), lambda clusters: simplified_silhouette(vectors, clusters))
    return _best(map(cluster, grid), lambda clusters: silhouette(vectors, clusters.codes))


def _best(candidates: "map[Clusters]", score: Callable[[Clusters], float]) -> Clusters:
    best = next(candidates)
    highest = score(best)
    for candidate in candidates:
        value = score(candidate)
        if value > highest:
            best, highest = candidate, value
    return best


def count_grid(n: int) -> tuple[int, ...]:
    """Return the counts to try for n rows: powers of two with 20 rows a cluster or more on average.

    From 64 to at most 8192, the grid of the kMQ paper; for a small pool from an eighth of its largest.

    Examples
    --------
    >>> count_grid(196_000)
    (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    >>> count_grid(1_000), count_grid(30), count_grid(1)
    ((4, 8, 16, 32), (2,), (1,))
    """
    if n < 2:
        return (1,)
    largest = min(LARGEST, max(2, n // ROWS_PER_CLUSTER))
    largest = 1 << (largest.bit_length() - 1)
    smallest = min(USUAL_SMALLEST, max(2, largest // 8))
    return tuple(1 << power for power in range(smallest.bit_length() - 1, largest.bit_length()))


def simplified_silhouette(vectors: Vectors, clusters: Clusters) -> float:
    """Return the mean of (b - a) / max(a, b), by distances to centroids instead of to rows.

    a is the distance of a row to its own centroid, b that to the nearest other with a row. As in
    the exact silhouette, a row alone in its cluster counts 0, and with fewer than two clusters the
    result is 0. In [-1, 1], higher is better. O(n k dim), no distances between rows.

    Parameters
    ----------
    vectors
        The clustered rows, (n, dim).
    clusters
        From `kmeans`: every row belongs to its nearest centroid.
    """
    sizes = clusters.sizes
    if np.count_nonzero(sizes) < 2:
        return 0.0
    _, squared = nearest_centroids(vectors, clusters.centroids[sizes > 0], 2)
    own, other = np.sqrt(np.maximum(squared, 0).astype(np.float64)).T
    counts = (other > 0) & (sizes[clusters.codes] > 1)
    return float(np.divide(other - own, other, out=np.zeros(len(own)), where=counts).mean())


def silhouette(
    vectors: Vectors,
    codes: Int[np.ndarray, " n"],
    *,
    sample_size: int = SAMPLE_SIZE,
    seed: int = SAMPLE_SEED,
) -> float:
    """Return the exact Euclidean silhouette [1]_ of a fixed sample of the rows.

    In [-1, 1], higher is better; 0 where the sample has fewer than two clusters or one a row. A
    sample leaves many clusters with one row when there are almost as many clusters as sampled rows,
    which lowers it. O(sample_size^2 dim).

    References
    ----------
    .. [1] Rousseeuw, Silhouettes: a graphical aid to the interpretation and validation of cluster
       analysis, 1987.
    """
    from sklearn.metrics import silhouette_score

    n = len(vectors)
    rows = np.arange(n)
    if n > sample_size:
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:sample_size])
    if not 1 < len(np.unique(codes[rows])) < len(rows):
        return 0.0
    return float(silhouette_score(vectors.take(rows), codes[rows], metric="euclidean"))


def elbow(counts: Sequence[int], inertias: Sequence[float]) -> int:
    """Return the count farthest below the chord of the curve of inertia over log count (kneedle).

    The smaller count wins a tie; with fewer than three counts that is the first.

    Parameters
    ----------
    counts
        Ascending.
    inertias
        Sum of squared distances to the own centroid at each count.
    """
    if len(counts) < 3:
        return counts[0]
    x, y = np.log(counts), np.asarray(inertias, dtype=np.float64)
    chord = y[0] + (y[-1] - y[0]) * (x - x[0]) / (x[-1] - x[0])
    return counts[int(np.argmax(chord - y))]  # all perpendiculars are the same multiple of this
