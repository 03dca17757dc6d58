"""How surprising a response is to a model, with or without its prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Perplexity(ForwardScorer):
    """Perplexity of the response tokens: the exponential of their mean negative log-likelihood.

    Higher: more surprising. InstructMining [1]_ measures the response, without saying whether it is
    given its prompt; its wording fits the response alone, which is the default here. The baseline
    method ``perplexity`` is conditional, and reads the scorer ``likelihood``. Without a BOS token
    nothing predicts the first token of a lone response, so it is left out of the mean.

    Parameters
    ----------
    ppl_mode
        ``unconditional``: the response alone. ``conditional``: given its prompt.
    template
        Text template the prompt is written with, or ``chat``; a lone response has none around it.
    score_end
        Whether ends of turns (EOS) count.

    References
    ----------
    .. [1] Cao et al., Instruction Mining: Instruction Data Selection for Tuning Large Language
       Models, COLM 2024, table of indicators. https://arxiv.org/abs/2307.06290

    Examples
    --------
    >>> halves = SegmentStats(np.log([2.0, 2.0]), np.zeros(2, bool), False, 4)
    >>> round(Perplexity().reduce({"response": halves})["ppl"], 6)
    2.0
    """

    name: ClassVar[str] = "perplexity"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "ppl": Column("float", "perplexity of the response; higher is more surprising"),
        "truncated": Column("bool", "whether tokens did not fit the model's context"),
    }
    ppl_mode: Literal["unconditional", "conditional"] = "unconditional"
    template: str = "plain"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL})

    def segments(self) -> tuple[Segment, ...]:
        part: Literal["response", "full"] = (
            "response" if self.ppl_mode == "unconditional" else "full"
        )
        return (Segment(part, Rendering(self.template, part=part)),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        [segment] = stats.values()
        nll = segment.nll[segment.counted(score_end=self.score_end)]
        with np.errstate(over="ignore"):  # an infinite perplexity fails the example by itself
            return {"ppl": float(np.exp(nll.mean())), "truncated": segment.truncated}
