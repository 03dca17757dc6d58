"""Instruction-following difficulty: how much the instruction helps to predict the response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple, final

import numpy as np

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.errors import UndefinedScore
from curate.registry import register


class _Convention(NamedTuple):
    template: str
    lead: str
    max_length: int


_CONVENTIONS: Final[Mapping[str, _Convention]] = {
    "cherry": _Convention("alpaca-input", "### Response:", 512),
    "superfiltering": _Convention("superfiltering", "", 1024),
    "codeact": _Convention("codeact", "", 2048),
}


@register
@final
@dataclass(frozen=True)
class IFD(ForwardScorer):
    """The response's loss with its instruction, relative to its loss without.

    Both published ratios come from one pass: of mean losses (Cherry [1]_) and of perplexities
    (Superfiltering [2]_, CodeACT [3]_). They rank differently, so name the one you use. Higher: the
    instruction helps less. Above 1 it misleads. Without a BOS token nothing predicts the first
    token of a lone response without a lead, so it is left out of that mean, as with GPT-2 in [2]_.
    An example without a ratio (no token to score, a loss of zero) has no score, with its reason.

    A row's input, where it has one, is written apart from its instruction, as the official scripts do.
    Deviations: the response is found by character offsets instead of the official code's search
    from the right with its off-by-one; where the text is cut, the lone response is cut to the
    same number of tokens.

    Parameters
    ----------
    variant
        Published prompt, lead-in of the lone response, and cap in tokens: ``cherry`` (both forms of
        the Alpaca prompt, ``### Response:``, 512), ``superfiltering`` (the instruction and the
        input alone, a line each, none, 1024) or ``codeact`` (``Question:``/``Answer:``, none,
        2048).
    template
        ``method`` for the variant's own prompt and cap. Any other is not the published score, and
        is capped only by the model's context, so that it shares the tokens of other scorers.
    turns
        Score ``all`` assistant turns, or the ``last``; the papers have one.
    score_end
        Whether ends of turns (EOS) count.

    References
    ----------
    .. [1] Li et al., From Quantity to Quality: Boosting LLM Performance with Self-Guided Data
       Selection for Instruction Tuning, NAACL 2024. https://arxiv.org/abs/2308.12032
    .. [2] Li et al., Superfiltering: Weak-to-Strong Data Filtering for Fast Instruction-Tuning,
       ACL 2024. https://arxiv.org/abs/2402.00530
    .. [3] Lv et al., CodeACT: Code Adaptive Compute-efficient Tuning Framework for Code LLMs,
       2024. https://arxiv.org/abs/2408.02193

    Examples
    --------
    >>> def losses(*nll): return SegmentStats(np.array(nll), np.zeros(len(nll), bool), False, 9)
    >>> IFD().reduce({"full": losses(1.0, 3.0), "response": losses(4.0, 4.0)})["ratio_loss"]
    0.5
    """

    name: ClassVar[str] = "ifd"
    version: ClassVar[int] = 2
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "ratio_ppl": Column(
            "float", "perplexity with the prompt over that without; higher is harder"
        ),
        "ratio_loss": Column(
            "float", "mean loss with the prompt over that without; higher is harder"
        ),
        "truncated": Column("bool", "whether tokens did not fit the cap or the model's context"),
    }
    variant: Literal["cherry", "superfiltering", "codeact"] = "cherry"
    template: str = "method"
    turns: Literal["all", "last"] = "all"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL})

    def segments(self) -> tuple[Segment, ...]:
        own = _CONVENTIONS[self.variant]
        published = self.template == "method"
        template = own.template if published else self.template
        cap = own.max_length if published else None
        full = Rendering(template, turns=self.turns, max_length=cap)
        lone = Rendering(template, part="response", lead=own.lead, turns=self.turns, max_length=cap)
        return (Segment("full", full), Segment("response", lone))

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        full, lone = stats["full"], stats["response"]
        given, alone = (s.nll[s.counted(score_end=self.score_end)] for s in (full, lone))
        if full.truncated:
            alone = alone[: len(given)]
        with_prompt, without = float(given.mean()), float(alone.mean())
        if without <= 0:
            raise UndefinedScore("loss_without_prompt_is_zero")
        return {
            "ratio_ppl": float(np.exp(with_prompt - without)),
            "ratio_loss": with_prompt / without,
            "truncated": full.truncated or lone.truncated,
        }
