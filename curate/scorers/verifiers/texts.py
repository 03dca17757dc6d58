"""Answers that must equal a text, or match a pattern."""

import re
import sys
from dataclasses import dataclass
from typing import Final, final

from curate.errors import ExampleFailure
from curate.scorers.verifiers.patient import PatientProcess, served
from curate.scorers.verifiers.verdict import NO_REFERENCE, Verdict, Verifier

PLACE: Final = "{reference}"


@final
@dataclass(frozen=True, slots=True)
class ExactVerifier(Verifier):
    """Right where answer and reference are the same text; blanks at the ends and their kind do not count."""

    def accept(self, reference: str) -> None:
        if not reference.strip():
            raise ExampleFailure(NO_REFERENCE)

    def check(self, answer: str, reference: str) -> Verdict:
        found = " ".join(answer.split())
        return Verdict("right" if found == " ".join(reference.split()) else "wrong", found)


@final
@dataclass(frozen=True, slots=True)
class RegexVerifier(Verifier):
    """Right where a pattern is found in the answer; ``{reference}`` in it stands for the reference.

    Without a pattern the reference is one. Patterns can take for ever, so they run in a process
    that is ended after a time.
    """

    pattern: str
    process: PatientProcess

    def accept(self, reference: str) -> None:
        if not reference.strip():
            raise ExampleFailure(NO_REFERENCE)
        if not self.pattern:
            try:
                re.compile(reference)
            except (re.error, OverflowError, RecursionError) as error:
                raise ExampleFailure(f"bad_pattern: {error}") from error

    def check(self, answer: str, reference: str) -> Verdict:
        written = re.escape(reference.strip())
        pattern = self.pattern.replace(PLACE, written) if self.pattern else reference
        reply = self.process.ask([pattern, answer])
        if isinstance(reply, str):
            return Verdict("undecided", why=reply)
        found = reply[0] if reply else ""
        return Verdict("right" if reply else "wrong", found, "" if reply else "no match")


def search(asked: list[str]) -> list[str]:
    """Return the first match of a pattern in a text, nothing for none."""
    pattern, text = asked
    match = re.search(pattern, text)
    return [] if match is None else [match[0]]


if __name__ == "__main__":
    sys.exit(served(search))
