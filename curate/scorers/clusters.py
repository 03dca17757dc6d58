"""k-means clusters of an embedding, as a column that selections and charts can read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.algorithms.kmeans import kmeans
from curate.contracts import Column, Columns, Need, PoolScorer, Role, Vectors, View
from curate.errors import ConfigError
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class ClustersOf(PoolScorer):
    """The k-means cluster of each example's embedding, and its distance to the centroid.

    Euclidean k-means by faiss on the vectors as they are. An embedding that is not finite or has
    length 0 fails its example. O(n k dim) plus the training of the centroids.

    Parameters
    ----------
    k
        Number of clusters; at most the number of examples.
    seed
        Determines the training rows and the initial centroids.
    niter
        Iterations.
    max_points_per_centroid
        Centroids are trained on at most this many examples each; all examples are assigned.
    """

    name: ClassVar[str] = "clusters"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "cluster": Column("int", "number of the nearest centroid, from 0"),
        "distance": Column("float", "Euclidean distance to it; lower is more typical"),
    }
    k: int = 512
    seed: int = 0
    niter: int = 20
    max_points_per_centroid: int = 256

    def __post_init__(self) -> None:
        for name in ("k", "niter", "max_points_per_centroid"):
            if getattr(self, name) < 1:
                raise ConfigError(f"clusters.{name} must be at least 1, got {getattr(self, name)}")

    def requires(self) -> Mapping[str, Need]:
        return {"embedding": Need("embedding")}

    def run(self, view: View, device: str) -> Columns:
        stored = view.vectors("embedding.vector")
        usable = np.concatenate(
            [np.isfinite(b).all(axis=1) & (b != 0).any(axis=1) for _, b in stored.blocks()]
        )
        rows = np.flatnonzero(usable)
        cluster, distance = np.full(len(view), np.nan), np.full(len(view), np.nan)
        if len(rows):
            within = rows if stored.rows is None else stored.rows[rows]
            clusters = kmeans(
                Vectors(stored.array, within), self.k, seed=self.seed, niter=self.niter,
                max_points_per_centroid=self.max_points_per_centroid,
            )  # fmt: skip
            cluster[rows] = clusters.codes
            distance[rows] = np.sqrt(np.maximum(clusters.distances, 0))
        return {"cluster": cluster, "distance": distance}
