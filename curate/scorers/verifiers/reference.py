"""What answers are checked against: the response of the example, or a column of its input row."""

from dataclasses import dataclass
from typing import Final, final

from curate.contracts import Example
from curate.errors import ConfigError, ExampleFailure
from curate.models.text.templates import answer_text
from curate.scorers.verifiers.verdict import NO_REFERENCE, VerifierName

RESPONSE: Final = "response"
PREFIX: Final = "row."
_OWN_COLUMNS: Final = {"python": "tests", "regex": "pattern"}  # where no response can be meant


@final
@dataclass(frozen=True, slots=True)
class Reference:
    """Where the reference of an example is: in ``column`` of its input row, or "" for its response."""

    column: str

    @classmethod
    def of(
        cls, scorer: str, reference: str, verifier: VerifierName, pattern: str, default: str
    ) -> "Reference":
        """Read a setting, "" for what suits the verifier; raise `ConfigError` for one that cannot be.

        ``default`` is for verifiers that compare answers with an answer.
        """
        own = None if verifier == "regex" and pattern else _OWN_COLUMNS.get(verifier)
        chosen = reference or (f"{PREFIX}{own}" if own else default)
        if chosen == RESPONSE:
            if own is not None:
                raise ConfigError(
                    f"{scorer}.reference=response holds an answer, but verifier {verifier} reads "
                    f"{'tests' if verifier == 'python' else 'a pattern'}; name the column that has "
                    f"them: --set {scorer}.reference={PREFIX}{own}"
                )
            return cls("")
        if not chosen.startswith(PREFIX) or chosen == PREFIX:
            raise ConfigError(
                f"{scorer}.reference={reference!r} is neither response nor a column of the input "
                f"rows; write it as in --where: --set {scorer}.reference=row.answer"
            )
        return cls(chosen.removeprefix(PREFIX))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of input rows that are read."""
        return (self.column,) if self.column else ()

    def read(self, example: Example) -> str:
        """Return the reference of an example; raise `ExampleFailure` where there is none."""
        if not self.column:
            answer = answer_text(example.messages[-1])
            if answer is None:
                raise ExampleFailure(NO_REFERENCE)
            return answer
        if self.column not in example.row:
            raise ExampleFailure(NO_REFERENCE)
        return example.row[self.column]
