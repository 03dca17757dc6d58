r"""Maths in ``\boxed{}``, compared by Math-Verify in a process that is ended after a time."""

import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, final

from curate.errors import ExampleFailure, MissingPackageError
from curate.scorers.verifiers.patient import PatientProcess, served
from curate.scorers.verifiers.verdict import NO_REFERENCE, Verdict, Verifier

_MARKS: Final = re.compile(r"(?P<box>\\(?:boxed|fbox)\s*\{)|\\.|[{}]", re.DOTALL)


def boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{}`` of a text holds; None without one that is closed. O(characters).

    Examples
    --------
    >>> boxed(r"so \boxed{3}, no: \boxed{\frac{1}{2}}."), boxed("3")
    ('\\frac{1}{2}', None)
    """
    opened: list[int] = []  # where what stands in each open brace begins; -1 where it is no box
    start, inside = -1, None
    for match in _MARKS.finditer(text):  # an escaped brace is a mark of its own, and none of these
        if match["box"]:
            opened.append(match.end())
        elif match[0] == "{":
            opened.append(-1)
        elif match[0] == "}" and opened:
            begins = opened.pop()
            if begins > start:
                start, inside = begins, text[begins : match.start()].strip()
    return inside


@final
@dataclass(frozen=True, slots=True)
class BoxedVerifier(Verifier):
    r"""Right where the last ``\boxed{}`` of the answer equals the reference as mathematics.

    The reference is the last box of its text, or the whole text where it has none.
    """

    process: PatientProcess

    def accept(self, reference: str) -> None:
        if not (boxed(reference) or reference).strip():
            raise ExampleFailure(NO_REFERENCE)

    def check(self, answer: str, reference: str) -> Verdict:
        found = boxed(answer)
        if not found:
            return Verdict("wrong", why="no box")
        wanted = boxed(reference) or reference
        if "".join(found.split()) == "".join(wanted.split()):
            return Verdict("right", found)
        reply = self.process.ask([wanted, found])
        if isinstance(reply, str):
            return Verdict("undecided", found, reply)
        return Verdict("right" if reply == ["equal"] else "wrong", found)


def require_math() -> None:
    """Raise `MissingPackageError` where Math-Verify is not installed."""
    if find_spec("math_verify") is None:
        raise MissingPackageError(
            "verifier 'boxed' needs the package math-verify; type: pip install 'curate-sft[math]'"
        )


def compare(asked: list[str]) -> list[str]:
    """Say whether two formulas are equal."""
    from math_verify import parse, verify

    # Its own timeouts are signals, which cannot end a calculation in C: this process is ended instead.
    wanted, found = (parse(rf"\boxed{{{text}}}", parsing_timeout=None) for text in asked)
    return ["equal" if verify(wanted, found, timeout_seconds=None) else "different"]


if __name__ == "__main__":
    import math_verify  # noqa: F401 - before the first question, whose time is limited

    sys.exit(served(compare))
