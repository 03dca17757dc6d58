"""SemDeDup: without what is near another example of its cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np

from curate import (
    DEFAULT_EMBEDDING,
    Budget,
    BudgetError,
    Comparable,
    ConfigError,
    Need,
    Selection,
    Selector,
    View,
    draw_seed,
    embedding_need,
    highest_before,
    keep_within,
    kmeans,
    register,
)

PER_CLUSTER: Final = 1_000


@register
@final
@dataclass(frozen=True)
class SemDeDup(Selector):
    """The examples that are least near to those before them in their cluster of an embedding.

    Embeddings are clustered by spherical k-means. In each cluster examples stand by rising cosine with the
    centroid, those least typical first, and each has the highest cosine with any before it, kept or
    removed [1]_. Without a budget those above ``1 - eps`` are removed; with one, those with the
    highest are, so that a budget chooses ``eps``. Every other method that drops copies here
    (`dedup`, `deita`) compares with what is kept: of a chain a, b, c in which only neighbours are near, those
    keep a and c and SemDeDup keeps a.

    Deviations: the number of clusters follows the pool (the paper has 50,000 for 440 million images), a budget
    may take the place of ``eps``, equal cosines go to the smaller id, and vectors are clustered as
    long as they are. Written from the paper: its code may not be used commercially.

    Evidence: the paper removes half of LAION with little loss. In our proof on the demo's pool no
    difference from random was shown (`reports/proof-demo.md`).

    O(n k dim niter) for k-means, then O(n^2 dim / k); in memory are up to 256 vectors a cluster, a quarter of the pool
    by default, for k-means, and then one cluster at a time.

    Parameters
    ----------
    eps
        Without a budget: remove what has a cosine above ``1 - eps`` with one before it, in (0, 1).
        The paper has no default, because what is near depends on the encoder.
    n_clusters
        Clusters; by default one for every 1,000 examples.
    niter
        Iterations of k-means; 100 in the published code.
    embedding
        Alias of the score set whose ``vector`` is compared. The default is computed where it is missing.

    References
    ----------
    .. [1] Abbas, Tirumala, Simig, Ganguli and Morcos, SemDeDup: Data-efficient learning at web-scale
       through semantic deduplication, 2023. https://arxiv.org/abs/2303.09540

    Examples
    --------
    >>> from curate import Vectors
    >>> points = Vectors(np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]]))
    >>> view = View(np.array([b"a", b"b", b"c"]), vectors_by_column={"embedding.vector": points})
    >>> chosen = SemDeDup(eps=0.1, n_clusters=1).select(view, None, np.random.default_rng(0))
    >>> len(chosen)
    2
    """

    name: ClassVar[str] = "semdedup"
    purpose: ClassVar[str] = "few near-duplicates"
    budget_optional: ClassVar[bool] = True
    eps: float | None = None
    n_clusters: int | None = None
    niter: int = 100
    embedding: str = DEFAULT_EMBEDDING

    def __post_init__(self) -> None:
        if self.eps is not None and not 0 < self.eps < 1:
            raise ConfigError(
                f"semdedup.eps={self.eps:g} is one minus a cosine, between 0 and 1; try 0.05"
            )
        for field in ("n_clusters", "niter"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ConfigError(f"semdedup.{field} must be at least 1, got {value}")

    def requires(self) -> Mapping[str, Need]:
        return embedding_need(self.embedding)

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None and self.eps is None:
            raise BudgetError(
                "semdedup needs a budget unless eps is set; add --budget 10%, 5000 or 2Mtok, "
                "or --set semdedup.eps=0.05"
            )
        comparable = Comparable.of(view, self.embedding)
        rows = comparable.rows
        if budget is not None:
            comparable.spending(budget)  # refuses more than there is before any work
        n_clusters = self.n_clusters or -(-len(rows) // PER_CLUSTER)
        clusters = kmeans(
            comparable.part, n_clusters, seed=draw_seed(rng), niter=self.niter, spherical=True
        )
        highest = highest_before(comparable.vectors, rows, clusters.codes, clusters.centroids)
        order = np.argsort(highest, kind="stable")
        distinct = int((highest <= 1 - (self.eps or 0.0)).sum())
        ranking = order[:distinct] if budget is None else order
        chosen = ranking[: len(keep_within(rows[ranking], budget, comparable.considered))]
        nearest = highest[chosen]
        warnings = self._too_many(len(chosen), distinct, len(rows))
        reasons = [
            "first of its cluster" if value <= -1 else f"cosine with those before it {value:.4f}"
            for value in nearest.tolist()
        ]
        return Selection(rows[chosen], 1 - nearest, None, reasons, comparable.excluded, warnings)

    def _too_many(self, n_chosen: int, n_distinct: int, n: int) -> tuple[str, ...]:
        if self.eps is None:
            return ()
        removed = (
            f"eps={self.eps:g} removes {n - n_distinct:,} of {n:,} examples "
            f"({(n - n_distinct) / n:.1%})"
        )
        if n_chosen > n_distinct:
            removed += (
                f", and {n_chosen:,} were asked for: the last {n_chosen - n_distinct:,} are among "
                f"those; ask for at most {n_distinct:,}, or lower semdedup.eps"
            )
        return (removed,)
