import pytest

from curate.contracts import FAILURE, Example, LoadContext
from curate.errors import ConfigError
from curate.registry import build
from curate.scorers.verified import Verified


def example(response, number=0, **row):
    turns = ({"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": response})
    return Example(f"{number:032x}", turns, row=row)


def score(examples, **settings):
    return Verified(**settings).load(LoadContext("cpu", "float32"))(examples)


def test_responses_are_checked_against_a_column_of_their_rows():
    found = score(
        [example("so 2", answer="#### 2"), example("so 3", answer="2"), example("?", answer="2")]
    )
    assert found["correct"].tolist() == [True, False, False]
    assert found["found"].tolist() == ["2", "3", ""]
    assert found[FAILURE].tolist() == [None] * 3


def test_what_cannot_be_checked_fails_and_is_not_wrong():
    found = score([example("2"), example("2", answer="two"), example("2", answer="2")])
    assert found[FAILURE].tolist() == ["no_reference", "reference_without_number", None]
    code = "def f(): return bytearray(2**33)"
    found = score([example(code, tests="f()")], verifier="python")
    assert found[FAILURE].tolist() == ["undecided: memory"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"verifier": "numbers"}, "verified.verifier='numbers' is not one of number, boxed"),
        ({"reference": "answer"}, "verified.reference='answer' is neither response nor a column.*row.answer"),
        ({"verifier": "python", "reference": "response"}, "verifier python reads tests; name .*row.tests"),
        ({"verifier": "regex", "reference": "response"}, "verifier regex reads a pattern; name .*row.pattern"),
        ({"pattern": "x"}, "verified.pattern='x' is read by verifier regex alone, .* is number"),
        ({"verifier": "regex", "pattern": "("}, "verified.pattern='.' is no regular expression: missing"),
        ({"limit_s": 0}, "verified.limit_s must be above 0 and at most 86400, got 0; try 5"),
        ({"limit_s": float("inf")}, "limit_s must be above 0 and at most 86400, got inf; try 5"),
        ({"memory_mib": 3}, "verified.memory_mib must be at least 64 and at most 1048576, got 3; try 2048"),
        ({"memory_mib": 10**12}, "and at most 1048576, got 1000000000000; try 2048"),
    ],
)  # fmt: skip
def test_impossible_settings_say_what_is_possible(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(Verified, settings)


def test_a_pattern_may_be_checked_against_the_response_or_a_column():
    pattern = r"answer: {reference}$"
    found = score([example("answer: B", answer="B")], verifier="regex", pattern=pattern)
    assert found["correct"].tolist() == [True]
    assert Verified("regex", "response", pattern).row_columns() == ()


def test_what_follows_the_reasoning_is_checked():
    thought = example("2")
    thought.messages[-1]["reasoning_content"] = "it is 3"
    responses = [thought, example("<think>is it 3?</think>2"), example("<think>it is 2")]
    for verifier, pattern in (("number", ""), ("exact", ""), ("regex", "^{reference}$|^$")):
        for one in responses:
            one.row["answer"] = "2"
        found = score(responses, verifier=verifier, pattern=pattern)
        assert found["correct"].tolist() == [True, True, False]
        assert found[FAILURE].tolist() == [None] * 3
    program = example("<think>```python\n1 / 0\n```</think>```python\nx = 1\n```", tests="assert x")
    assert score([program], verifier="python")["correct"].tolist() == [True]
