"""A causal language model's own hidden states as a vector per example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Embedding(ForwardScorer):
    """Final hidden states of a causal language model, pooled over prompt and response.

    Free when any other score runs in the same pass. Pooled in float64, stored as float32, not
    normalised. With an encoder model, ``embedding`` means the scorer ``sentence-embedding`` instead.

    Parameters
    ----------
    pooling
        ``mean`` over the tokens; ``weighted_mean``, with weights that rise linearly along the text
        [1]_, because only late tokens of a causal model have seen all of it; or the ``last`` token.
    template
        Text template, or ``chat``. The end token a renderer appends is not pooled.
    score_end
        No effect on vectors; every forward scorer has it.

    References
    ----------
    .. [1] Muennighoff, SGPT: GPT Sentence Embeddings for Semantic Search, 2022, equation 2.
       https://arxiv.org/abs/2202.08904

    Examples
    --------
    >>> stats = SegmentStats(np.zeros(0), np.zeros(0, bool), False, 2, mean_hidden=np.ones(3))
    >>> Embedding().reduce({"full": stats})["vector"].tolist()
    [1.0, 1.0, 1.0]
    """

    name: ClassVar[str] = "embedding"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "vector": Column("vector", "pooled final hidden states, not normalised"),
    }
    pooling: Literal["mean", "weighted_mean", "last"] = "mean"
    template: str = "plain"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset(
            {
                {
                    "mean": Stat.MEAN_HIDDEN,
                    "weighted_mean": Stat.WEIGHTED_HIDDEN,
                    "last": Stat.LAST_HIDDEN,
                }[self.pooling]
            }
        )

    def segments(self) -> tuple[Segment, ...]:
        return (Segment("full", Rendering(self.template)),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        full = stats["full"]
        vector = {
            "mean": full.mean_hidden,
            "weighted_mean": full.weighted_hidden,
            "last": full.last_hidden,
        }[self.pooling]
        assert vector is not None
        return {"vector": vector.astype(np.float32)}
