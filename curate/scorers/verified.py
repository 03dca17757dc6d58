"""Whether a response is right, as a verifier finds it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ExampleFailure
from curate.models.classifiers.text_model import make_each, object_column
from curate.models.text.templates import answer_text
from curate.registry import register
from curate.scorers.verifiers.load import VerifierSettings
from curate.scorers.verifiers.reference import Reference
from curate.scorers.verifiers.verdict import Verdict, VerifierName


@register
@final
@dataclass(frozen=True)
class Verified(RowScorer):
    """Whether the response of an example is right: ``--where "verified.correct"``.

    The pool's own responses are checked as `pass_rate` checks sampled ones, against a column of their
    input rows: ``curate score --scorer verified --set verified.reference=row.answer``. No model runs
    and nothing is sampled. What is checked follows the reasoning; a thought that never ends has no
    answer and is wrong.

    A response that could not be checked, because a program needed more than its time or memory, fails
    with ``undecided: time`` or ``undecided: memory`` and is never called wrong. A row without the
    column fails with ``no_reference``. Cost: microseconds an example for ``number`` and ``exact``, a
    process of its own for ``python`` (0.1 s and what the program takes).

    Parameters
    ----------
    verifier
        ``number``, ``boxed``, ``exact``, ``regex`` or ``python``; see `pass_rate`.
    reference
        A column of the input rows, as ``row.NAME``. Default: ``row.answer``; for ``python``
        ``row.tests``, for ``regex`` without a pattern ``row.pattern``.
    pattern
        Of ``regex``; ``{reference}`` in it stands for the reference.
    limit_s
        Seconds a program, a formula or a pattern may compute.
    memory_mib
        Memory it may take.

    Examples
    --------
    >>> Verified().row_columns(), Verified("python", "row.meta.test").row_columns()
    (('answer',), ('meta.test',))
    """

    name: ClassVar[str] = "verified"
    version: ClassVar[int] = 2
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "correct": Column("bool", "whether the response is right"),
        "found": Column("text", "what was compared, such as the last number; empty for nothing"),
    }
    verifier: VerifierName = "number"
    reference: str = ""
    pattern: str = ""
    limit_s: float = 5.0
    memory_mib: int = 2_048

    def __post_init__(self) -> None:
        self._settings().check(self.name)
        self._reference()

    def row_columns(self) -> tuple[str, ...]:
        return self._reference().columns

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        verifier, reference = self._settings().load(), self._reference()

        def check(example: Example) -> Verdict:
            wanted = reference.read(example)
            verifier.accept(wanted)
            verdict = verifier.verdict(answer_text(example.messages[-1]), wanted)
            if verdict.outcome == "undecided":
                raise ExampleFailure(verdict.text)
            return verdict

        def score(examples: Sequence[Example]) -> Columns:
            verdicts, places, reasons = make_each(examples, check)
            correct, found = np.zeros(len(examples), dtype=bool), [""] * len(examples)
            for place, verdict in zip(places, verdicts, strict=True):
                correct[place], found[place] = verdict.outcome == "right", verdict.found
            return {
                "correct": correct,
                "found": object_column(found),
                FAILURE: object_column(reasons),
            }

        return score

    def _settings(self) -> VerifierSettings:
        return VerifierSettings(self.verifier, self.pattern, self.limit_s, self.memory_mib)

    def _reference(self) -> Reference:
        return Reference.of(self.name, self.reference, self.verifier, self.pattern, "row.answer")
