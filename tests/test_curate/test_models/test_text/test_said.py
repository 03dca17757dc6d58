"""Where the answer of a written text begins."""

import pytest

from curate.models.text.said import answer_start

STRIPS = 're.sub(r"<think>.*?</think>", "", text).split("</think>")[-1]'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("4", "4"),
        ("", ""),
        ("<think>2? 3?</think>4", "4"),
        ("so, 2? 3?</think>4", "4"),  # the prompt opened it
        ("<think>2?</think><think>3?</think>4", "4"),
        ("[THINK]2?[/THINK]4", "4"),
        ("<reasoning>2?</reasoning><answer>4</answer>", "<answer>4</answer>"),
        ('<think>"2?"</think>"4"', '"4"'),
        ('<think>it cuts at "</think>"; yes\n</think>4', "4"),
        (STRIPS, STRIPS),
        (f"<think>{STRIPS}</think>{STRIPS}", STRIPS),
        ("Write `<think>` first.", "Write `<think>` first."),
        ("<think>2? 3?", None),
        ("3 <think>2? 3?", None),
        ("<think>2?</think> 3 <think>no", None),
        ('<think>\n"2?" they ask', None),
    ],
)
def test_an_answer_follows_the_last_thought(text: str, answer: str | None) -> None:
    start = answer_start(text)
    assert (None if start is None else text[start:]) == answer
