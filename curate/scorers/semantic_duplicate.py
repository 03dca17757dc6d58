"""Which examples mean nearly the same as another one of the pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.algorithms.cosine import apart
from curate.algorithms.directions import have_direction
from curate.algorithms.nearest_kept import nearest_kept
from curate.contracts import Column, Columns, Need, PoolScorer, Role, View
from curate.errors import ConfigError
from curate.registry import register
from curate.scorers.near_duplicate import cluster_columns


@register
@final
@dataclass(frozen=True)
class SemanticDuplicate(PoolScorer):
    """Examples whose embedding nearly equals that of another one: ``--where "not semantic_duplicate.is_copy"``.

    Finds what `near_duplicate` cannot, a text in other words, as far as the embedding sees it.
    Examples are gone through in order of id: one is a copy if its cosine with an earlier example that is no
    copy is above the threshold, and its representative is the nearest of all examples that are no copies.
    So leaving out every copy leaves no example without one like it. Exact: every example is compared with
    every one that is no copy, in blocks. An embedding that is not finite, or of length 0, fails its
    example and is compared with none. What cosine means the same depends on the model: look at
    some pairs before you drop by it.

    O(n kept dim) time; the vectors that are kept are held in memory.

    Parameters
    ----------
    threshold
        Cosine above which an example is a copy, in (-1, 1).

    References
    ----------
    .. [1] Abbas et al., SemDeDup: Data-efficient learning at web-scale through semantic
       deduplication, 2023. https://arxiv.org/abs/2303.09540. Compared here with what is kept; the
       method `semdedup` has the rule of the paper.

    Examples
    --------
    >>> SemanticDuplicate().requires()["embedding"].scorer
    'embedding'
    """

    name: ClassVar[str] = "semantic_duplicate"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "is_copy": Column("bool", "whether it is a copy of its representative"),
        "cluster": Column("int", "number of the representative, from 0; copies share it"),
        "size": Column("int", "examples of its cluster, itself included"),
        "representative": Column("text", "id of the example it is a copy of, or its own"),
        "similarity": Column("float", "cosine with the representative, -1 to 1; its own is 1"),
    }
    threshold: float = 0.95

    def __post_init__(self) -> None:
        if not -1 < self.threshold < 1:
            raise ConfigError(
                f"semantic_duplicate.threshold={self.threshold:g} is a cosine, between -1 and 1; "
                "try 0.95"
            )

    def requires(self) -> Mapping[str, Need]:
        return {"embedding": Need("embedding")}

    def run(self, view: View, device: str) -> Columns:
        stored = view.vectors("embedding.vector")
        usable, _ = have_direction(stored)
        rows = np.flatnonzero(usable)
        kept = apart(stored, rows, self.threshold)
        copies = np.setdiff1d(rows, kept, assume_unique=True)
        representative = np.arange(len(view))
        similarity = np.where(usable, 1.0, np.nan)
        if len(copies):
            representative[copies], similarity[copies] = nearest_kept(stored, copies, kept)
        return cluster_columns(view, representative, similarity)
