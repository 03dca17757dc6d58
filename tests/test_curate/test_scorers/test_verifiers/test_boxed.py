import sys

import pytest

from curate.errors import MissingPackageError
from curate.scorers.verifiers.boxed import boxed
from curate.scorers.verifiers.load import VerifierSettings

PAIRS = [
    (r"so \boxed{\frac{1}{2}}", r"it is \boxed{0.5}", "right"),
    (r"\boxed{1+x}", "x+1", "right"),
    (r"\boxed{2\sqrt{2}}", r"\sqrt{8}", "right"),
    (r"\boxed{50\%}", "50", "right"),
    (r"\boxed{10\text{ cm}}", "10", "right"),
    (r"\boxed{1,234}", "1234", "right"),
    (r"\boxed{3} no, \boxed{4}", "3", "wrong"),
    (r"\boxed{-5}", "5", "wrong"),
    (r"\boxed{}", "5", "wrong"),
    ("5", "5", "wrong"),
    ("", "5", "wrong"),
]


@pytest.fixture(scope="module")
def maths():
    return VerifierSettings("boxed", limit_s=1.0).load()


def test_formulas_are_compared_as_mathematics(maths):
    assert [maths.check(answer, wanted).outcome for answer, wanted, _ in PAIRS] == [
        expected for *_, expected in PAIRS
    ]


@pytest.mark.slow  # the process imports sympy twice
def test_a_formula_that_takes_for_ever_is_undecided_and_the_next_is_compared(maths):
    assert maths.check(r"\boxed{9^{9^{9^9}}}", "3").text == "undecided: time"
    assert maths.check(r"\boxed{4}", "3").outcome == "wrong"


def test_boxes_hold_braces_and_may_be_open():
    assert boxed(r"\boxed{\{1,2\}}") == r"\{1,2\}"
    assert boxed(r"\boxed{1} \boxed{2") == "1"
    assert boxed(r"\boxed{" * 10_000) is None


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'curate-sft\[math\]'"):
        VerifierSettings("boxed").load()


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (r"\boxed{3 oops \boxed{5}", "5"),
        (r"\boxed{\left\{1,2\right.}", r"\left\{1,2\right."),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed{a \boxed{b} c}", "b"),
        (r"} \boxed{1} {", "1"),
        (r"\boxed{1} \boxed{2", "1"),
        (r"\boxed{x \\}", r"x \\"),
        (r"\boxed{" * 20_000, None),
        (r"\boxed{" * 20_000 + "}" * 20_000, ""),
    ],
)
def test_the_last_box_is_found_past_escaped_and_open_braces(text: str, inside: str | None) -> None:
    assert boxed(text) == inside
