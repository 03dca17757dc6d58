"""What a verifier says of one answer, and what every verifier can do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

VerifierName: TypeAlias = Literal["number", "boxed", "exact", "regex", "python"]
Outcome: TypeAlias = Literal["right", "wrong", "undecided"]

NO_REFERENCE: Final = "no_reference"  # the failure of an example without anything to check against

NO_ANSWER: Final = "no answer"


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one answer.

    Parameters
    ----------
    outcome
        ``undecided`` where time, memory or a crash came before an answer: never a wrong answer.
    found
        What was compared, such as the number that was read; "" where nothing was found.
    why
        Why it is undecided or wrong, in few words, or "".
    """

    outcome: Outcome
    found: str = ""
    why: str = ""

    @property
    def text(self) -> str:
        """The outcome and, where it is undecided, why."""
        return f"undecided: {self.why}" if self.outcome == "undecided" else self.outcome


class Verifier(ABC):
    """Checks answers against references. What it holds open lives as long as it does."""

    def accept(self, reference: str) -> None:
        """Raise `ExampleFailure` for a reference that no answer could be compared with."""
        del reference

    def verdict(self, answer: str | None, reference: str) -> Verdict:
        """Return the verdict on one answer; None, for a thought that never ends, is wrong."""
        return Verdict("wrong", why=NO_ANSWER) if answer is None else self.check(answer, reference)

    @abstractmethod
    def check(self, answer: str, reference: str) -> Verdict:
        """Return the verdict on one answer, given a reference that `accept` has taken."""
