import time
from fractions import Fraction

import pytest

from curate.errors import ExampleFailure
from curate.scorers.verifiers.number import NumberVerifier, last_number

READ = {
    "so it is 18.": "18",
    "18.00": "18",
    "7 - 12 = -5": "-5",
    "10-5": "5",
    "from 3 to −7": "-7",
    "(-3)": "-3",
    "A: -$1,234.50": "-2469/2",
    "$-3": "-3",
    "€1,000,000 in all": "1000000",
    "1,23": "23",
    "is .5": "1/2",
    "3/4": "3/4",
    "it is 1 1/2 cups": "3/2",
    r"\frac{3}{4}": "3/4",
    r"\dfrac34": "3/4",
    r"it is $-\frac{3}{4}$": "-3/4",
    r"\frac{-3}{4}": "-3/4",
    r"\frac{3}{-4}": "-3/4",
    r"-\frac{-3}{4}": "3/4",
    r"-\dfrac34": "-3/4",
    r"-1\frac{1}{2}": "-3/2",
    r"\pi\frac{3}{4}": "3/4",
    r"\$1{,}234": "1234",
    "1.5e3": "1500",
    "1.5e-3": "3/2000",
    "1.5 × 10^3": "1500",
    r"2 \times 10^{3}": "2000",
    "25%": "25%",
    r"25\%": "25%",
    "on 12/25/2020": "2020",
    "at 3:30": "30",
    "10km": "10",
    "<<16-3=13>>13": "13",
    "#### 72": "72",
    "#### 72\nchecked 2 times": "2",
    "it was 3 #### none": "3",
}


@pytest.mark.parametrize("text", READ)
def test_the_last_number_of_a_text(text):
    assert str(last_number(text)) == READ[text]


@pytest.mark.parametrize("text", ["", "none", "H2O", "v1.2.3", "3/0", "1e999999999", "9" * 1001])
def test_a_text_without_a_number_has_none(text):
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.5", "1/2"), ("50%", "0.5"), ("50%", "50"), ("1e3", "1,000"), ("18.0", "18")],
)
def test_equal_numbers_are_equal_however_they_are_written(one, other):
    assert last_number(one).equals(last_number(other))
    assert last_number(other).equals(last_number(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.33", "1/3"), ("50", "0.5"), ("5%", "0.5"), ("-3", "3"), ("1000000", "1000001")],
)
def test_numbers_that_differ_differ(one, other):
    assert not last_number(one).equals(last_number(other))


def test_values_are_exact():
    assert last_number("0.1").value * 3 == last_number("0.3").value == Fraction(3, 10)


def test_an_answer_without_a_number_is_wrong_and_a_reference_without_one_cannot_be_used():
    verifier = NumberVerifier()
    assert verifier.check("I do not know", "18").text == "wrong"
    assert verifier.check("", "18").why == "no number"
    assert verifier.check("so 18", "#### 18").outcome == "right"
    assert verifier.check("so 19", "#### 18").found == "19"
    with pytest.raises(ExampleFailure, match="reference_without_number"):
        verifier.accept("eighteen")


@pytest.mark.parametrize("text", ["1," * 20_000, "1 1/" * 20_000, "-$" * 20_000, "1.5e" * 20_000])
def test_time_grows_with_the_text_alone(text):
    began = time.process_time()
    last_number(text)
    assert time.process_time() - began < 2


def test_a_long_run_of_groups_is_read_in_linear_time() -> None:
    assert last_number("1" + ",111" * 20_000 + "1 and 42") == last_number("42")
    assert last_number("12,345,678 and 1,234,56") == last_number("56")
