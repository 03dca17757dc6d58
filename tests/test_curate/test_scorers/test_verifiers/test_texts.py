import pytest

from curate.errors import ExampleFailure
from curate.scorers.verifiers.load import VerifierSettings


def test_equal_texts_are_right_whatever_their_blanks():
    verifier = VerifierSettings("exact").load()
    assert verifier.check(" the\n sea ", "the sea").outcome == "right"
    assert verifier.check("The sea", "the sea").outcome == "wrong"
    assert verifier.check("", "the sea").outcome == "wrong"
    with pytest.raises(ExampleFailure, match="no_reference"):
        verifier.accept("  ")


@pytest.fixture(scope="module")
def patterns():
    return VerifierSettings("regex", r"(?i)answer: \(?{reference}\b", 0.5).load()


def test_a_pattern_may_hold_the_reference_as_it_is_written(patterns):
    assert patterns.check("the Answer: (B) is", "B").outcome == "right"
    assert patterns.check("Answer: (A)", "B").outcome == "wrong"
    assert patterns.check("answer: (xx", "x+").outcome == "wrong"
    with pytest.raises(ExampleFailure, match="no_reference"):
        patterns.accept("")


def test_a_pattern_that_never_ends_is_undecided_and_the_next_is_checked(patterns):
    endless = type(patterns)(r"(a+)+$", patterns.process)
    assert endless.check("a" * 40 + "b", "").text == "undecided: time"
    assert endless.check("aaa", "").outcome == "right"


def test_the_process_ends_with_the_verifier():
    verifier = VerifierSettings("regex", "a").load()
    assert verifier.check("a", "").outcome == "right"
    process = verifier.process._running
    del verifier
    assert process.poll() is not None


def test_without_a_pattern_the_reference_is_one():
    verifier = VerifierSettings("regex").load()
    assert verifier.check("abc 12", r"\d+$").found == "12"
    with pytest.raises(ExampleFailure, match="bad_pattern: unterminated"):
        verifier.accept("[")
    with pytest.raises(ExampleFailure, match="bad_pattern"):
        verifier.accept("a{99999999999999999999}")
