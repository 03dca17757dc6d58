"""D4: without what is near another example, then what is least typical of its cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from curate import (
    DEFAULT_EMBEDDING,
    Budget,
    BudgetError,
    Clusters,
    Comparable,
    ConfigError,
    Need,
    Selection,
    Selector,
    Vectors,
    View,
    centroid_cosines,
    check_embedding,
    draw_seed,
    embedding_need,
    highest_before,
    keep_within,
    kmeans,
    part_of,
    register,
)

PER_CLUSTER: Final = 1_000


@register
@final
@dataclass(frozen=True)
class D4(Selector):
    """The examples that are neither near-duplicates nor typical of their cluster of an embedding.

    SemDeDup first keeps a share of the pool, those with the lowest cosine with any before them in their
    cluster [2]_. What is left is clustered again, since groups of duplicates had drawn clusters to
    themselves, and those farthest from their centroid come first: SSL prototypes, turned round [1]_. The
    budget decides how far down; the share kept by the first step is fixed, as in the paper. It prefers
    outliers, good or bad, so filter them before. A budget beyond that share goes on with what the first step
    removed, the least near first, and a warning says how many.

    Deviations: the abstract and what we recall of the paper are our sources, and no code was published that we
    know of. The number of clusters follows the pool (11,000 in the paper), the embedding is any stored one
    (the last token of OPT-125M), vectors are clustered as long as they are, equal ones go to the smaller id,
    and an embedding that is not finite or of length 0 leaves its example out.

    Evidence: for pre-training at 6.7 billion weights the authors report 20% less training to the same
    perplexity and up to 2 points on 16 tasks. Nothing is known to us for fine-tuning data;
    in our proof on the demo's pool no difference from random was shown (`reports/proof-demo.md`).

    Two k-means of O(n k dim niter), and O(n^2 dim / k); in memory are up to 256 vectors a cluster, a quarter of the
    pool by default, for k-means, and then one cluster at a time.

    Parameters
    ----------
    dedup
        Share of the examples that the first step keeps, in (0, 1]; 0.75 in the paper.
    n_clusters
        Clusters of either step; by default one for every 1,000 examples.
    niter
        Iterations of k-means. The default is ours.
    embedding
        Alias of the score set whose ``vector`` is compared. The default is computed where it is missing.

    References
    ----------
    .. [1] Tirumala, Simig, Aghajanyan and Morcos, D4: Improving LLM Pretraining via Document
       De-Duplication and Diversification, NeurIPS 2023. https://arxiv.org/abs/2308.12284
    .. [2] Abbas, Tirumala, Simig, Ganguli and Morcos, SemDeDup: Data-efficient learning at web-scale
       through semantic deduplication, 2023. https://arxiv.org/abs/2303.09540

    Examples
    --------
    >>> points = Vectors(np.array([[1.0, 0.0], [1.0, 0.01], [1.0, 0.1], [0.0, 1.0]]))
    >>> view = View(np.arange(4).astype("S1"), vectors_by_column={"embedding.vector": points})
    >>> D4(n_clusters=1).select(view, Budget(1), np.random.default_rng(0)).indices.tolist()
    [3]
    """

    name: ClassVar[str] = "d4"
    purpose: ClassVar[str] = "few near-duplicates"
    experimental: ClassVar[str] = "built from the abstract; no code was published"
    dedup: float = 0.75
    n_clusters: int | None = None
    niter: int = 100
    embedding: str = DEFAULT_EMBEDDING

    def __post_init__(self) -> None:
        if not 0 < self.dedup <= 1:
            raise ConfigError(
                f"d4.dedup={self.dedup:g} is the share of examples kept as no duplicates, above 0 and at "
                "most 1; try 0.75"
            )
        for field in ("n_clusters", "niter"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(f"d4.{field} must be at least 1, got {value}")
        check_embedding(self.name, self.embedding)

    def requires(self) -> Mapping[str, Need]:
        return embedding_need(self.embedding)

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None:
            raise BudgetError("d4 needs a budget; add --budget 10%, 5000 or 2Mtok")
        comparable = Comparable.of(view, self.embedding)
        rows = comparable.rows
        comparable.spending(budget)  # refuses more than there is before any work
        first = self._clusters(comparable.part, rng)
        nearness = highest_before(comparable.vectors, rows, first.codes, first.centroids)
        by_nearness = np.argsort(nearness, kind="stable")
        n_kept = max(1, round(self.dedup * len(rows)))
        kept, removed = np.sort(by_nearness[:n_kept]), by_nearness[n_kept:]
        left = part_of(comparable.vectors, rows[kept])
        typical = centroid_cosines(left, self._clusters(left, rng))
        by_typical = np.argsort(typical, kind="stable")
        ranking = rows[np.concatenate([kept[by_typical], removed])]
        indices = keep_within(ranking, budget, comparable.considered)
        n_near = max(0, len(indices) - n_kept)
        cosines = typical[by_typical][: len(indices)].tolist()
        reasons = [f"cosine with its centroid {cosine:.4f}" for cosine in cosines]
        nearest = nearness[removed[:n_near]].tolist()
        reasons += [f"near another, cosine {cosine:.4f}" for cosine in nearest]
        gains = np.array([1 - cosine for cosine in cosines] + [-cosine for cosine in nearest])
        warnings = self._too_many(len(indices), n_kept, len(rows))
        return Selection(indices, gains, None, reasons, comparable.excluded, warnings)

    def _clusters(self, vectors: Vectors, rng: np.random.Generator) -> Clusters:
        n_clusters = self.n_clusters or -(-len(vectors) // PER_CLUSTER)
        return kmeans(vectors, n_clusters, seed=draw_seed(rng), niter=self.niter, spherical=True)

    def _too_many(self, n_chosen: int, n_kept: int, n: int) -> tuple[str, ...]:
        if n_chosen <= n_kept:
            return ()
        warning = (
            f"{n_chosen:,} examples were asked for and d4.dedup={self.dedup:g} keeps {n_kept:,} of {n:,}: the "
            f"last {n_chosen - n_kept:,} are near others; ask for at most {n_kept:,}, or raise d4.dedup"
        )
        return (warning,)
