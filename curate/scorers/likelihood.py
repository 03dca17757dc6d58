"""How probable a model finds each response, given its prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class Likelihood(ForwardScorer):
    """Log-probability and entropy of the response tokens under a causal language model.

    The mean log-probability is GRAPE's score [1]_ and, negated and exponentiated, the perplexity.
    Nats, float64. Higher log-probability: the model finds the response more natural. The mean
    favours long and repetitive text, the sum short text. Where vLLM runs the model, which gives
    log-probabilities alone, the entropy is null.

    Parameters
    ----------
    template
        Text template, ``grape`` as printed in the paper, or ``chat``.
    turns
        Score ``all`` assistant turns given their history, or the ``last``.
    boundary
        ``offsets``: the whole text is tokenised once, and a token that straddles the start of the
        response counts. ``separate``: prompt and response are tokenised one by one.
    score_tokens
        ``response``, or ``all`` tokens of the text, the literal reading of the paper's formula.
    score_end
        Whether ends of turns (EOS) count; the paper's template has none.

    References
    ----------
    .. [1] Zhang, Dai and Peng, The Best Instruction-Tuning Data are Those That Fit, NeurIPS 2025,
       section 3. https://arxiv.org/abs/2502.04194

    Examples
    --------
    >>> import numpy as np
    >>> halves = SegmentStats(np.log([2.0, 2.0]), np.zeros(2, bool), False, 4, np.log([2.0, 2.0]))
    >>> round(Likelihood().reduce({"full": halves})["mean_logp"], 4)
    -0.6931
    """

    name: ClassVar[str] = "likelihood"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "n_tokens": Column("int", "scored tokens"),
        "sum_logp": Column("float", "summed log-probability, nats; higher is more probable"),
        "mean_logp": Column("float", "mean log-probability, nats a token; higher is more probable"),
        "mean_entropy": Column("float", "mean entropy of the predictions, nats; lower is surer"),
        "truncated": Column("bool", "whether tokens did not fit the model's context"),
    }
    optional: ClassVar[frozenset[Stat]] = frozenset({Stat.ENTROPY})
    template: str = "grape"
    turns: Literal["all", "last"] = "all"
    boundary: Literal["offsets", "separate"] = "offsets"
    score_tokens: Literal["response", "all"] = "response"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL, Stat.ENTROPY})

    def segments(self) -> tuple[Segment, ...]:
        rendering = Rendering(
            self.template, turns=self.turns, boundary=self.boundary, scored=self.score_tokens
        )
        return (Segment("full", rendering),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        full = stats["full"]
        counts = full.counted(score_end=self.score_end)
        return {
            **log_probabilities(full, score_end=self.score_end),
            "mean_entropy": None if full.entropy is None else float(full.entropy[counts].mean()),
        }


def log_probabilities(segment: SegmentStats, *, score_end: bool) -> dict[str, Any]:
    """Return the number of tokens that count, their summed and mean log-probability, and ``truncated``."""
    logp = -segment.nll[segment.counted(score_end=score_end)]
    return {
        "n_tokens": len(logp),
        "sum_logp": float(logp.sum()),
        "mean_logp": float(logp.mean()),
        "truncated": segment.truncated,
    }
