"""InstructMining's rule as a column, along with the indicators it reads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from curate.algorithms.rules.linear_rules import PUBLISHED
from curate.contracts import Column, Columns, DerivedScorer, Example, LoadContext, Need, Role
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class InstructMining(DerivedScorer):
    """The log loss that InstructMining's rule v3 predicts for each example, and its four indicators.

    For queries: the selector of the same name reads the indicators themselves, and under any other
    rule the predictions are its gains, negated. The coefficients hold for one reward model and one
    UniEval checkpoint: see the selector. It reads the scores ``reward`` and ``unieval``.

    References
    ----------
    .. [1] Cao, Kang, Wang and Sun, Instruction Mining: Instruction Data Selection for Tuning Large
       Language Models, COLM 2024. https://arxiv.org/abs/2307.06290

    Examples
    --------
    >>> list(InstructMining().requires())
    ['reward', 'unieval']
    """

    name: ClassVar[str] = "instructmining"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "reward": Column("float", "logit of the reward model; higher is better"),
        "naturalness": Column("float", "p(Yes) that the response is natural; higher is better"),
        "understandability": Column("float", "p(Yes) that it can be understood; higher is better"),
        "coherence": Column("float", "p(Yes) that it fits the history; higher is better"),
        "predicted_loss": Column("float", "log loss predicted by rule v3; lower is better"),
    }

    def requires(self) -> Mapping[str, Need]:
        return dict(PUBLISHED["v3"].needs)

    def load(self, context: LoadContext) -> Callable[[Sequence[Example], Columns], Columns]:
        rule = PUBLISHED["v3"]

        def score(examples: Sequence[Example], read: Columns) -> Columns:
            indicators = {term.indicator: read[term.column] for term in rule.terms}
            return {**indicators, "predicted_loss": rule.predict(read)}

        return score
