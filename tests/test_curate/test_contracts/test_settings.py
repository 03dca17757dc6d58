from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts.settings import build
from curate.errors import ConfigError
from curate.registry import get_method


@dataclass(frozen=True)
class Config:
    name: ClassVar[str] = "made"
    needed: str
    flag: bool = False
    count: int = 3
    rate: float = 0.5
    which: Literal["low", "high", 2] = "low"
    limit: int | None = None
    either: int | str = "auto"
    parts: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 0.5)
    anything: Any = None


def made(**settings):
    return build(Config, {"needed": "x", **settings})


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("flag", "true", True),
        ("flag", "No", False),
        ("flag", "1", True),
        ("flag", True, True),
        ("count", "12", 12),
        ("count", "1_000", 1000),
        ("count", "1e6", 1_000_000),
        ("count", 4.0, 4),
        ("count", "-2", -2),
        ("count", "9007199254740993", 9007199254740993),
        ("rate", "1e-5", 1e-5),
        ("rate", 2, 2.0),
        ("rate", "inf", float("inf")),
        ("which", "high", "high"),
        ("which", "2", 2),
        ("limit", "none", None),
        ("limit", "null", None),
        ("limit", "7", 7),
        ("limit", None, None),
        ("either", "7", 7),
        ("either", "seven", "seven"),
        ("parts", "a, b", ("a", "b")),
        ("parts", '["a,b", "c"]', ("a,b", "c")),
        ("parts", ["a"], ("a",)),
        ("parts", "", ()),
        ("pair", "2,0.25", (2, 0.25)),
        ("anything", {"a": 1}, {"a": 1}),
        ("needed", "none", "none"),
    ],
)
def test_text_is_read_by_the_type_of_the_field(field, text, value):
    read = getattr(made(**{field: text}), field)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("flag", "maybe", "made.flag='maybe' is neither true nor false"),
        ("flag", 2, "is neither true nor false"),
        ("flag", 1.0, "is neither true nor false"),
        ("count", "many", "made.count='many' is not a whole number"),
        ("count", "2.5", "is not a whole number"),
        ("count", True, "is not a whole number"),
        ("count", "inf", "is not a whole number"),
        ("rate", "fast", "made.rate='fast' is not a number"),
        ("rate", "nan", "is not a number"),
        ("which", "hihg", "is not one of low, high, 2; did you mean 'high'"),
        ("limit", "lots", "made.limit='lots' is not integer or none"),
        ("parts", 5, "is not a list of values separated by commas"),
        ("parts", "[1", "starts like a JSON list but is not one"),
        ("pair", "1", "has 1 values but needs 2, separated by commas"),
        ("needed", 5, "made.needed=5 is not text"),
    ],
)
def test_value_that_does_not_fit_says_what_would(field, text, message):
    with pytest.raises(ConfigError) as caught:
        made(**{field: text})
    assert message in str(caught.value)
    assert str(caught.value).endswith(f"; pass --set made.{field}=VALUE")


def test_unknown_field_names_the_nearest_and_all_defaults():
    with pytest.raises(ConfigError) as caught:
        made(cuont="3")
    assert str(caught.value) == (
        "made has no field 'cuont'; did you mean 'count'; its fields are: needed (required), "
        "flag=false, count=3, rate=0.5, which=low, limit=none, either=auto, parts=, pair=1,0.5, "
        "anything=none"
    )


def test_missing_field_says_how_to_pass_it():
    with pytest.raises(ConfigError) as caught:
        build(Config, {})
    assert str(caught.value) == "made needs a value for needed; pass --set made.needed=VALUE"


def test_method_refuses_values_in_its_own_words():
    with pytest.raises(ConfigError, match="grape.k=0 keeps nothing; give at least 1"):
        build(get_method("grape"), {"k": "0"})


@given(st.integers())
def test_whole_numbers_read_back_exactly(number):
    assert made(count=str(number)).count == number == made(count=number).count


@given(st.floats(allow_nan=False))
def test_numbers_read_back_exactly(number):
    assert made(rate=repr(number)).rate == number
