"""What the judge reads: both orders, three options, and the verdict it reflects on."""

import pytest

from curate.errors import ExampleFailure
from curate.scorers.bsdetector.comparison import comparison_prompts, verdict_prompts

HISTORY = [{"role": "user", "content": "Name a colour."}]
ORIGINAL = {"role": "assistant", "content": "A table."}
CANDIDATE = {"role": "assistant", "content": "Blue."}


def test_every_prompt_shows_the_question_and_both_responses():
    for text in comparison_prompts(HISTORY, ORIGINAL, CANDIDATE):
        assert all(part in text for part in ("Name a colour.", "A table.", "Blue."))
        assert "(A) Response 1 is better\n(B) Response 2 is better\n(C) Neither is better\n" in text
        assert "neither their length nor the order in which they are shown" in text


def test_the_second_prompt_shows_the_candidate_first():
    first, second = comparison_prompts(HISTORY, ORIGINAL, CANDIDATE)
    assert first.index("A table.") < first.index("Blue.")
    assert second.index("Blue.") < second.index("A table.")
    assert (
        second.replace("Blue.", "@").replace("A table.", "Blue.").replace("@", "A table.") == first
    )


def test_the_verdict_is_reflected_on_in_both_orders_of_the_letters():
    prompts = verdict_prompts(HISTORY, ORIGINAL, CANDIDATE)
    assert len(prompts) == 4
    for text in prompts:
        assert "Proposed answer:\nResponse 2 is better." in text
        assert text.index("A table.") < text.index("Blue.")
    assert "(A) The proposed answer is correct" in prompts[0]
    assert "(B) The proposed answer is correct" in prompts[1]
    assert len(verdict_prompts(HISTORY, ORIGINAL, CANDIDATE, reasoned=True)) == 2


def test_reasons_come_before_the_letter_where_they_are_asked_for():
    for text in comparison_prompts(HISTORY, ORIGINAL, CANDIDATE, reasoned=True):
        assert "explanation: [your reasoning, step by step]" in text


def test_an_example_without_a_prompt_cannot_be_judged():
    with pytest.raises(ExampleFailure, match="no_prompt"):
        comparison_prompts([], ORIGINAL, CANDIDATE)
