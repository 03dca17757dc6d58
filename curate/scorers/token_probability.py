"""How probable a model finds the tokens of a response, as a mean of probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class TokenProbability(ForwardScorer):
    """Arithmetic mean of the probabilities of the response tokens, given all before them.

    In (0, 1], higher: the model finds the response more natural. A later product of
    BSDetector's authors calls it perplexity; CLEAR reads it instead of observed consistency when
    there is no model to sample from. It shares the pass of other forward scorers.

    Parameters
    ----------
    template
        ``chat`` for instruct models, or a text template.
    turns
        Which assistant turns count; confidence is about the ``last``.
    score_end
        Whether ends of turns (EOS) count.

    Examples
    --------
    >>> stats = SegmentStats(np.log([2.0, 4.0]), np.zeros(2, bool), False, 4)
    >>> round(TokenProbability().reduce({"full": stats})["mean_probability"], 12)
    0.375
    """

    name: ClassVar[str] = "token-probability"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "mean_probability": Column(
            "float", "mean probability of the scored tokens; higher is surer"
        ),
        "truncated": Column("bool", "whether tokens did not fit the model's context"),
    }
    template: str = "chat"
    turns: Literal["all", "last"] = "last"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL})

    def segments(self) -> tuple[Segment, ...]:
        return (Segment("full", Rendering(self.template, turns=self.turns)),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        full = stats["full"]
        nll = full.nll[full.counted(score_end=self.score_end)]
        return {"mean_probability": float(np.exp(-nll).mean()), "truncated": full.truncated}
