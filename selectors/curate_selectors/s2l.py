"""S2L: examples drawn evenly from clusters of a small model's training trajectories."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    Vectors,
    View,
    draw_seed,
    keep_within,
    kmeans,
    places_in_group,
    register,
)


class _Ranked(NamedTuple):
    """Rows of one source in the order in which they are drawn, and the cluster of each."""

    rows: Int[np.ndarray, " m"]
    clusters: Int[np.ndarray, " m"]
    sizes: Int[np.ndarray, " m"]


@register
@final
@dataclass(frozen=True)
class S2L(Selector):
    """Examples drawn evenly from clusters of the loss a small proxy had on them while it trained.

    Examples whose losses fall alike during a run have similar gradients, so one of them represents
    the others. Trajectories are clustered by k-means as they are (not normalised), and clusters
    are drawn from evenly: each gives the same number until it is exhausted, the smallest first
    [1]_. Every prefix of the ranking is such a water-filling, so a smaller budget's examples are
    the first of a larger one's; the remainder goes one each to the largest clusters. Inside a
    cluster the order is uniform. Gains are 1 / size of the cluster.

    Deviations: the draw is seeded, which the official one is not; examples without a trajectory
    are left out and counted, where the official code gives them losses of 0 and a cluster of their
    own; a source with fewer rows than clusters has as many clusters as rows. The official code's
    comment says that the largest clusters come first, but its order is ascending, and so is this one.

    O(n k K) for the assignment to k clusters of K points, seconds for a million examples.

    Evidence: no difference from random was shown in our proofs on the demo's pool and on GSM8K
    (`reports/proof-demo.md`, `reports/proof-gsm8k-train.md`).

    Parameters
    ----------
    n_clusters
        Clusters of each source, or of the pool; 100 in the paper.
    niter
        Iterations of k-means.
    max_points_per_centroid
        Centroids are trained on at most this many rows each, drawn with the seed; all rows are
        assigned. 256 is the limit of faiss, which the official code does not change.
    stratify
        ``source``: water-filling over sources first, then over the clusters of each, as the
        official code does. ``none``: clusters of the whole pool, as the paper's algorithm.
    min_cluster
        Clusters with fewer rows are drawn from last, all together: 3 in the official code. 1
        treats all clusters alike.

    References
    ----------
    .. [1] Yang, Mishra, Chiang and Mirzasoleiman, SmallToLarge (S2L): Scalable Data Selection for
       Fine-tuning Large Language Models by Summarizing Training Trajectories of Small Models,
       NeurIPS 2024, Algorithm 1. https://arxiv.org/abs/2403.07384

    Examples
    --------
    >>> losses = np.array([[1.0, 0.1]] * 4 + [[9.0, 8.0]] * 4)
    >>> view = View(np.arange(8).astype("S2"), vectors_by_column={"trajectory.losses": Vectors(losses)})
    >>> picks = S2L(n_clusters=2).select(view, Budget(4), np.random.default_rng(0)).indices
    >>> sorted((picks // 4).tolist())
    [0, 0, 1, 1]
    """

    name: ClassVar[str] = "s2l"
    purpose: ClassVar[str] = "diversity"
    n_clusters: int = 100
    niter: int = 20
    max_points_per_centroid: int = 256
    stratify: Literal["source", "none"] = "source"
    min_cluster: int = 3

    def __post_init__(self) -> None:
        for name in ("n_clusters", "niter", "max_points_per_centroid", "min_cluster"):
            if getattr(self, name) < 1:
                raise ConfigError(f"s2l.{name} must be at least 1, got {getattr(self, name)}")

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"trajectory": Need("trajectory", "proxy")}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        losses = view.matrix("trajectory.losses")
        known = np.flatnonzero(np.isfinite(losses).all(axis=1) & (losses.shape[1] > 0))
        n_without = len(view) - len(known)
        excluded = {"no trajectory": n_without} if n_without else {}
        considered = replace(view, excluded={**view.excluded, **excluded})
        strata = [self._ranked(losses, rows, rng) for rows in self._strata(view, known)]
        ranked = _round_robin(strata)
        indices = keep_within(ranked.rows, budget, considered)
        kept = slice(0, len(indices))
        sizes = ranked.sizes[kept]
        reasons = [
            f"cluster {cluster} of {size} examples"
            for cluster, size in zip(ranked.clusters[kept].tolist(), sizes.tolist(), strict=True)
        ]
        warnings = self._warnings(view, strata)
        return Selection(indices, 1.0 / sizes, None, reasons, excluded, warnings)

    def _strata(self, view: View, known: Int[np.ndarray, " m"]) -> Iterator[Int[np.ndarray, " m"]]:
        """Yield the rows of each source in order of its code, or all rows at once."""
        if len(known) == 0:
            return
        if self.stratify == "none" or view.sources is None:
            yield known
            return
        sources = view.sources[known]
        for source in np.unique(sources):
            yield known[sources == source]

    def _ranked(
        self,
        losses: Float[np.ndarray, "n k"],
        rows: Int[np.ndarray, " m"],
        rng: np.random.Generator,
    ) -> _Ranked:
        """Cluster some rows and order them so that every prefix draws evenly from the clusters."""
        seed = draw_seed(rng)
        clusters = kmeans(
            Vectors(losses, rows), self.n_clusters, seed=seed, niter=self.niter,
            max_points_per_centroid=self.max_points_per_centroid,
        )  # fmt: skip
        size = clusters.sizes[clusters.codes]
        is_small = size < self.min_cluster
        pool = np.where(is_small, -1, clusters.codes)  # the small clusters are one pool, drawn last
        _, places, _ = places_in_group(rng.random(len(rows)), pool)
        order = np.lexsort((-clusters.codes, np.where(is_small, 0, -size), places, is_small))
        return _Ranked(rows[order], clusters.codes[order], size[order])

    def _warnings(self, view: View, strata: list[_Ranked]) -> tuple[str, ...]:
        few = [len(ranking.rows) for ranking in strata if len(ranking.rows) < self.n_clusters]
        if not few:
            return ()
        what = "the pool has" if len(strata) == 1 else f"{len(few)} of {len(strata)} sources have"
        sizes = ", ".join(map(str, few[:5]))
        return (
            (
                f"{what} fewer examples with a trajectory ({sizes}) than "
                f"n_clusters={self.n_clusters}, so each example there is its own cluster; "
                "lower it with --set s2l.n_clusters=N"
            ),
        )


def _round_robin(strata: list[_Ranked]) -> _Ranked:
    """Merge rankings so that every prefix draws evenly from them, the largest first in a round."""
    if not strata:
        nothing = np.empty(0, dtype=np.int64)
        return _Ranked(nothing, nothing, nothing)
    counts = [len(ranking.rows) for ranking in strata]
    places = np.concatenate([np.arange(count) for count in counts])
    size = np.repeat(counts, counts)
    stratum = np.repeat(np.arange(len(strata)), counts)
    order = np.lexsort((-stratum, -size, places))
    return _Ranked(*(np.concatenate(parts)[order] for parts in zip(*strata, strict=True)))
