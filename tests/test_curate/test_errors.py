"""The hint of a message: the nearest spelling, or nothing."""

from pathlib import Path

import pytest

import curate
from curate.errors import did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("grap", ("chat", "grape"), "; did you mean 'grape'"),
        ("zzz", ("chat", "grape"), ""),
        ("grap", (), ""),
        ("it'", ("it's",), '; did you mean "it\'s"'),
    ],
)
def test_hint_is_the_nearest_spelling_or_nothing(name, known, hint):
    assert did_you_mean(name, iter(known)) == hint


def test_nearest_spellings_are_looked_up_in_one_place():
    package = Path(curate.__file__).parent
    users = [p.name for p in package.rglob("*.py") if "get_close_matches" in p.read_text("utf-8")]
    assert users == ["errors.py"]
