from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from curate.contracts.describe import describe_fields, parse_docstring, type_text


@dataclass(frozen=True)
class Config:
    """Do one thing
    on two lines.

    A paragraph.

    Another.

    Parameters
    ----------
    first, second
        Both
        of them.
    third : int
        The third, with a colon: here.

    References
    ----------
    .. [1] A. Author, Title,
       2024. https://example.org
    """

    name: ClassVar[str] = "made"
    first: str
    second: float = 0.5
    third: int | None = None


def test_docstring_is_cut_into_summary_details_and_sections():
    summary, details, sections = parse_docstring(Config.__doc__)
    assert summary == "Do one thing on two lines."
    assert details == "A paragraph.\n\nAnother."
    assert list(sections) == ["Parameters", "References"]


def test_docstring_may_be_one_line_or_empty():
    assert parse_docstring("Do it.") == ("Do it.", "", {})
    assert parse_docstring("") == ("", "", {})


def test_fields_have_type_default_and_text():
    first, second, third = describe_fields(Config)
    assert (first.required, first.default, first.doc) == (True, None, "Both of them.")
    assert (second.required, second.default, second.doc) == (False, 0.5, "Both of them.")
    assert (third.type, third.doc) == ("integer or none", "The third, with a colon: here.")


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (bool, "true | false"),
        (float, "number"),
        (Literal["a", "b"], "a | b"),
        (str | None, "text or none"),
        (tuple[str, ...], "list of text"),
        (tuple[int, float], "integer, number"),
        (Any, "Any"),
    ],
)
def test_types_are_written_for_users(hint, text):
    assert type_text(hint) == text
