"""k-Center: each pick is the example farthest from all picked before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np

from curate import (
    DEFAULT_EMBEDDING,
    Budget,
    BudgetError,
    Comparable,
    Need,
    Selection,
    Selector,
    View,
    embedding_need,
    farthest_first,
    keep_within,
    register,
)


@register
@final
@dataclass(frozen=True)
class KCenter(Selector):
    """Examples that leave no other example far from all of them, picked greedily.

    The first is drawn with the seed, and each further one is the example farthest from all picked before it, so
    the largest distance of any example to its nearest pick is at most twice the smallest possible [1]_, [2]_.
    It covers the edges of a pool: outliers come first, good or bad, so filter them before, as in
    ``--method "deita | k-center"``. Equally far ones go to the smaller id; an embedding that is
    not finite or of length 0 leaves its example out.

    Deviations: cosine by default, where [2]_ uses the Euclidean distance of a network's last layer; no
    labelled set to start from, and none of the mixed integer program that tightens the bound.

    Evidence: in the kMQ paper's tables k-center is behind random and behind draws from clusters
    (average 42.7, the lowest of its baselines). In our proof on the demo's pool no difference
    from random was shown (`reports/proof-demo.md`).

    O(n k dim) for k picks; the embeddings are held in memory.

    Parameters
    ----------
    metric
        ``cosine``: Euclidean distance of embeddings scaled to length 1; or ``euclidean``, as they are.
    embedding
        Alias of the score set whose ``vector`` is compared. The default is computed where it is missing.

    References
    ----------
    .. [1] Gonzalez, Clustering to minimize the maximum intercluster distance, Theoretical Computer
       Science 38, 1985.
    .. [2] Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set
       Approach, ICLR 2018, Algorithm 1. https://arxiv.org/abs/1708.00489

    Examples
    --------
    >>> from curate import Vectors
    >>> points = Vectors(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]))
    >>> view = View(np.arange(4).astype("S1"), vectors_by_column={"embedding.vector": points})
    >>> picked = KCenter().select(view, Budget(2), np.random.default_rng(0)).indices
    >>> sorted((picked // 2).tolist())
    [0, 1]
    """

    name: ClassVar[str] = "k-center"
    purpose: ClassVar[str] = "diversity"
    metric: Literal["cosine", "euclidean"] = "cosine"
    embedding: str = DEFAULT_EMBEDDING

    def requires(self) -> Mapping[str, Need]:
        return embedding_need(self.embedding)

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None:
            raise BudgetError("k-center needs a budget; add --budget 10%, 5000 or 2Mtok")
        comparable = Comparable.of(view, self.embedding)
        rows = comparable.rows
        weights, enough = comparable.spending(budget)
        picks, far = farthest_first(
            comparable.vectors, rows, int(rng.integers(len(rows))), unit=self.metric == "cosine",
            weights=weights, enough=enough,
        )  # fmt: skip
        others = np.setdiff1d(np.arange(len(rows)), picks)
        ranking = rows[np.concatenate([picks, others])]
        indices = keep_within(ranking, budget, comparable.considered)
        distances = far[: len(indices)]
        reasons = [f"{value:.4f} from the nearest picked before it" for value in distances.tolist()]
        reasons[0] = "the first, drawn with the seed"
        return Selection(indices, distances, None, reasons, comparable.excluded)
