from dataclasses import replace

import pytest

from curate.contracts import Example
from curate.errors import ConfigError, ExampleFailure
from curate.models.text.templates import (
    TEMPLATES,
    answer_text,
    scored_spans,
    text_template,
    turn_text,
)


def example(*turns: tuple[str, object], tools=None, **last) -> Example:
    messages = [{"role": role, "content": content} for role, content in turns]
    messages[-1].update(last)
    return Example("a" * 32, tuple(messages), tools)


ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
ONE = example(("user", "Hi?"), ("assistant", "Yo {}"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("grape", "Question: Hi? \n Answer: Yo {}"),
        ("grape-compact", "Question: Hi?\nAnswer: Yo {}"),
        ("codeact", "Question:\nHi?\n\nAnswer:\nYo {}"),
        ("plain", "Hi?\nYo {}"),
        (
            "alpaca",
            f"{ALPACA}\n\n### Instruction:\nHi?\n\n### Response:Yo {{}}",
        ),
    ],
)
def test_a_single_turn_reads_exactly_as_published(name, text):
    rendered, spans = text_template(name).render(ONE)
    assert rendered == text
    assert [rendered[start:end] for start, end in spans] == ["Yo {}"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "alpaca-input",
            (
                "Below is an instruction that describes a task, paired with an input that provides further "
                "context. Write a response that appropriately completes the request.\n\n"
                "### Instruction:\nTranslate.\n\n### Input:\na\n\nb\n\n### Response:A B"
            ),
        ),
        ("superfiltering", "Translate.\na\n\nb\nA B"),
        ("alpaca", f"{ALPACA}\n\n### Instruction:\nTranslate.\n\na\n\nb\n\n### Response:A B"),
        ("plain", "Translate.\n\na\n\nb\nA B"),
    ],
)
def test_an_input_is_written_apart_where_the_official_prompt_does(name, text):
    joined = example(("user", "Translate.\n\na\n\nb"), ("assistant", "A B"))
    rendered, spans = text_template(name).render(replace(joined, input_at=len("Translate.\n\n")))
    assert rendered == text
    assert [rendered[start:end] for start, end in spans] == ["A B"]


def test_only_the_last_question_has_the_input():
    history = example(
        ("user", "One?"), ("assistant", "1"), ("user", "Two?\n\nx"), ("assistant", "2")
    )
    text, _ = text_template("alpaca-input").render(replace(history, input_at=6))
    assert "### Instruction:\nOne?\n\n### Response:1" in text
    assert text.endswith("### Instruction:\nTwo?\n\n### Input:\nx\n\n### Response:2")
    assert text.count("### Input:") == 1 and "paired with an input" in text


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_writes_every_turn_of_a_long_history(name):
    history = example(
        ("system", "Be kind."),
        ("user", "Sum?"),
        ("assistant", "Calling."),
        ("tool", "4"),
        ("assistant", "Four."),
        tools=({"name": "add"},),
    )
    text, spans = text_template(name).render(history)
    assert [text[start:end] for start, end in spans] == ["Calling.", "Four."]
    for part in ("Be kind.", "Sum?", "4", '{"name": "add"}'):
        assert part in text
    assert text.count("Below is an instruction") == 0  # a system message replaces the header
    assert scored_spans(spans, "last") == spans[-1:]


def test_a_turn_shows_reasoning_content_parts_and_tool_calls():
    message = {
        "role": "assistant",
        "reasoning_content": "Think.",
        "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
        "tool_calls": [{"name": "f", "arguments": {"x": "é"}}],
    }
    assert turn_text(message) == 'Think.\nAB\n[{"arguments": {"x": "é"}, "name": "f"}]'


def test_an_image_fails_its_example():
    with pytest.raises(ExampleFailure, match="content_is_not_text"):
        turn_text({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]})


def test_an_unknown_role_fails_its_example():
    with pytest.raises(ExampleFailure, match="unknown_role"):
        text_template("plain").render(example(("judge", "x"), ("assistant", "y")))


def test_an_unknown_template_names_the_nearest_one():
    with pytest.raises(
        ConfigError, match="no template 'grap'; did you mean 'grape'; choose one of"
    ):
        text_template("grap")


def test_an_answer_is_what_follows_the_reasoning():
    calls = [{"function": {"name": "add", "arguments": {"a": 1}}}]
    known = {"reasoning_content": "3? 4?", "content": "It is 4.", "tool_calls": calls}
    assert answer_text(known) == turn_text({"content": "It is 4.", "tool_calls": calls})
    assert answer_text({"content": [{"type": "text", "text": "<think>3?</think>\n4"}]}) == "\n4"
    assert answer_text({"content": "<think>3? 4? it is", "reasoning_content": "2?"}) is None
    assert answer_text({"content": None}) == ""
