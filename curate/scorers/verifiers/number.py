"""The last number of a text, as an exact fraction."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, final

from curate.errors import ExampleFailure
from curate.scorers.verifiers.verdict import Verdict, Verifier

NO_NUMBER: Final = "reference_without_number"
MARK: Final = "####"  # what follows it is the answer, as GSM8K writes it
MAX_DIGITS: Final = 1_000  # of a number; a longer run of digits is none

_PLAIN: Final = r"(?:\d{1,3}(?:,\d{3}){1,333}+(?!,?\d{3})(?!\d)(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++)"
_POWER: Final = (
    r"(?:[eE](?P<e>[+-]?\d{1,3}+)(?!\d)"
    r"|\s?(?:×|\*|x)\s?10\s?(?:\^|\*\*)\s?[({]?(?P<ten>[+-]?\d{1,3}+)(?!\d)[)}]?)"
)
_NUMBER: Final = re.compile(
    r"(?:(?<![\w)\]}])(?P<before>[-+−]))?(?:[$€£¥](?P<after>[-−])?)?(?<![\w.])"
    rf"(?:(?P<whole>\d{{1,9}}+)\s(?P<part>\d{{1,9}}+)\s?/\s?(?P<of>\d{{1,9}}+)(?!\s?/|\.\d)"
    rf"|(?<!/)(?P<over>{_PLAIN})\s?/\s?(?P<under>{_PLAIN})(?!\s?/)"
    rf"|(?P<plain>{_PLAIN}){_POWER}?(?![eE][+-]?\d))"
    r"(?P<percent>\s?%)?",
    re.ASCII,
)
_TEX: Final = (
    (re.compile(r"(?<=\w)(?=\s*\\[dt]?frac)"), " "),  # 1\frac{1}{2} is one and a half
    (re.compile(r"-(\\[dt]?frac\s*\{\s*)-"), r"\1"),
    (re.compile(r"\\[dt]?frac\s*\{\s*-([\d.,]+)\s*\}\s*\{\s*-([\d.,]+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s*\{\s*([\d.,]+)\s*\}\s*\{\s*-([\d.,]+)\s*\}"), r"-\1/\2"),
    (re.compile(r"\\[dt]?frac\s*\{\s*(-?[\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,!;: ]"), ""),
    (re.compile(r"\\([$%])"), r"\1"),
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A number as a text has it: its value, and whether a percent sign follows it."""

    value: Fraction
    percent: bool = False

    def equals(self, other: "Number") -> bool:
        """Whether both are the same; ``50%`` is 50 and one half."""
        if self.value == other.value:
            return True
        if self.percent == other.percent:
            return False
        percent, plain = (self, other) if self.percent else (other, self)
        return percent.value / 100 == plain.value

    def __str__(self) -> str:
        digits = f"{self.value.numerator}"
        if self.value.denominator != 1:
            digits += f"/{self.value.denominator}"
        return digits + "%" * self.percent


def last_number(text: str) -> Number | None:
    r"""Return the last number of a text, None without one; what follows ``####`` wins.

    Read are signs, commas between groups of three digits, currency, percent, fractions (``3/4``,
    ``1 1/2``, ``\frac{3}{4}``) and powers of ten (``1.5e3``, ``1.5 × 10^3``). Digits inside a word, as in
    ``H2O``, are none, and neither is a number with zero below the line. O(characters).

    Examples
    --------
    >>> [str(last_number(text)) for text in ("so 3 + 15 = 18.0.", "A: -$1,234.50", "25%", "none")]
    ['18', '-2469/2', '25%', 'None']
    """
    for pattern, written in _TEX:
        text = pattern.sub(written, text)
    marked = text.rpartition(MARK)[2] if MARK in text else text
    found = list(_NUMBER.finditer(marked)) or list(_NUMBER.finditer(text))
    return _read(found[-1]) if found else None


@final
@dataclass(frozen=True, slots=True)
class NumberVerifier(Verifier):
    """Right where the last numbers of answer and reference are the same number, exactly."""

    def accept(self, reference: str) -> None:
        if last_number(reference) is None:
            raise ExampleFailure(NO_NUMBER)

    def check(self, answer: str, reference: str) -> Verdict:
        number, wanted = last_number(answer), last_number(reference)
        assert wanted is not None
        if number is None:
            return Verdict("wrong", why="no number")
        return Verdict("right" if number.equals(wanted) else "wrong", str(number))


def _read(match: re.Match[str]) -> Number | None:
    sign = -1 if "-" in _signs(match) else 1
    percent = match["percent"] is not None
    try:
        if match["whole"] is not None:
            value = _value(match["whole"]) + _value(match["part"]) / _value(match["of"])
        elif match["over"] is not None:
            value = _value(match["over"]) / _value(match["under"])
        else:
            power = match["e"] or match["ten"]
            value = _value(match["plain"]) * Fraction(10) ** int(power or 0)
    except (ZeroDivisionError, ValueError):
        return None
    return Number(sign * value, percent)


def _signs(match: re.Match[str]) -> str:
    return f"{match['before'] or ''}{match['after'] or ''}".replace("−", "-")


def _value(digits: str) -> Fraction:
    if len(digits) > MAX_DIGITS:
        raise ValueError(len(digits))
    return Fraction(digits.replace(",", ""))
