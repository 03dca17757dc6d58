"""How probable a model finds each response when it does not see the prompt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.registry import register
from curate.scorers.likelihood import log_probabilities


@register
@final
@dataclass(frozen=True)
class NullLikelihood(ForwardScorer):
    """Log-probability of the response tokens alone, after ``lead`` and without any prompt.

    The second half of pointwise V-information [1]_, where the model is one trained with empty inputs. Nats,
    float64; higher: more probable. Without a BOS token and without a lead nothing predicts the
    first token, so it is left out, and ``n_tokens`` is one less than of the likelihood.

    Parameters
    ----------
    lead
        Text in front of the response, not scored; what the null-input model saw there in training.
    template
        Text template that writes the response.
    turns
        Score ``all`` assistant turns, or the ``last``.
    score_end
        Whether ends of turns (EOS) count.

    References
    ----------
    .. [1] Ethayarajh, Choi and Swayamdipta, Understanding Dataset Difficulty with V-Usable Information,
       ICML 2022, equation 4. https://arxiv.org/abs/2110.08420

    Examples
    --------
    >>> import numpy as np
    >>> halves = SegmentStats(np.log([2.0, 2.0]), np.zeros(2, bool), False, 4)
    >>> round(NullLikelihood().reduce({"response": halves})["sum_logp"], 4)
    -1.3863
    """

    name: ClassVar[str] = "null-likelihood"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "reference"
    outputs: ClassVar[Mapping[str, Column]] = {
        "n_tokens": Column("int", "scored tokens"),
        "sum_logp": Column("float", "summed log-probability, nats; higher is more probable"),
        "mean_logp": Column("float", "mean log-probability, nats a token; higher is more probable"),
        "truncated": Column("bool", "whether tokens did not fit the model's context"),
    }
    lead: str = ""
    template: str = "plain"
    turns: Literal["all", "last"] = "all"
    score_end: bool = False

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL})

    def segments(self) -> tuple[Segment, ...]:
        alone = Rendering(self.template, part="response", lead=self.lead, turns=self.turns)
        return (Segment("response", alone),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        return log_probabilities(stats["response"], score_end=self.score_end)
