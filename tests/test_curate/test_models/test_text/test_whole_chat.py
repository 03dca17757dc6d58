"""A conversation as one text: for a model that reads it whole, or up to where an answer begins."""

from pathlib import Path

import pytest

from curate.contracts import Example
from curate.errors import ExampleFailure, ModelError
from curate.models.load import load_tokenizer
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions, of_any_model

TEMPLATES = Path(__file__).resolve().parent / "chat_templates"
LISTS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
SWITCH = "{% for m in messages %}{{ m.content }}|{% endfor %}{{ loud }}"
CALLS = (
    "{% for m in messages %}{{ m.content or '' }}{% for call in m.tool_calls or [] %}"
    "{{ call.function | tojson }}{% endfor %}|{% endfor %}"
)
ASKED, ANSWERED = {"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}
SYSTEM = {"role": "system", "content": "Be brief."}
PARTS = [
    {**ASKED, "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "?"}]},
    {**ANSWERED, "content": [{"type": "text", "text": "b."}]},
]
IMAGE = {**ASKED, "content": [{"type": "image_url", "image_url": "u"}]}
THOUGHT = {**ANSWERED, "reasoning_content": "Because."}
CALLED = {
    "role": "assistant",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"x": "1 2"}'}}],
}


@pytest.fixture
def chat(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))

    def made(source, reasoning=None):
        path = TEMPLATES / f"{source}.jinja"
        template = path.read_text() if "{" not in source else source
        return ChatTemplate(tokenizer, ChatOptions(reasoning, template=template))

    return made


def example(*messages):
    return Example("0" * 32, messages)


def reason(made, *messages):
    with pytest.raises(ExampleFailure) as caught:
        made(*messages)
    return caught.value.reason


def test_parts_are_joined_and_arguments_of_the_row_reach_the_template(chat):
    assert chat(LISTS).whole(example(*PARTS)) == "user: a?\nassistant: b.\n"
    asked = {**ASKED, "chat_template_kwargs": {"loud": "!"}}
    assert chat(SWITCH).whole(example(asked, ANSWERED)) == "a?|b.|!"


def test_arguments_of_calls_are_written_once(chat):
    text = chat(CALLS).whole(example(ASKED, CALLED))
    assert text == 'a?|{"name": "f", "arguments": {"x": "1 2"}}|'


def test_reasoning_that_is_not_written_goes_unless_it_is_asked_for(chat):
    assert chat(LISTS).whole(example(ASKED, THOUGHT)) == "user: a?\nassistant: b.\n"
    failed = reason(chat(LISTS, "fail").whole, example(ASKED, THOUGHT))
    assert failed == "reasoning_not_rendered"
    inline = chat(LISTS, "inline").whole(example(ASKED, THOUGHT))
    assert inline == "user: a?\nassistant: <think>\nBecause.\n</think>\n\nb.\n"


@pytest.mark.parametrize(
    ("source", "messages", "why"),
    [
        ("drops_system", [SYSTEM, ASKED, ANSWERED], "message_not_rendered"),
        (LISTS, [ASKED, CALLED], "tool_call_not_rendered"),
        ("{{ messages[0].content }}", [ASKED, ANSWERED], "content_not_rendered"),
        (LISTS, [IMAGE, ANSWERED], "content_is_not_text"),
        ("{{ raise_exception('no') }}", [ASKED, ANSWERED], "template_error"),
    ],
)
def test_what_a_whole_text_would_lose_fails_the_example(chat, source, messages, why):
    assert reason(chat(source).whole, example(*messages)) == why


def test_a_prompt_shows_every_message_or_fails(chat):
    assert reason(chat("drops_system").prompt, [SYSTEM, ASKED], None) == "message_not_rendered"
    assert "a?" in chat("parts_only").prompt(PARTS[:1], None)
    assert chat(LISTS).prompt([SYSTEM, *PARTS[:1]], None) == "system: Be brief.\nuser: a?\n"


def test_arguments_by_another_name_are_looked_for(chat):
    function = {"name": "f", "parameters": {"x": "1 2"}}
    named = {**CALLED, "tool_calls": [{"type": "function", "function": function}]}
    source = CALLS.replace("call.function | tojson", "call.function.name")
    assert reason(chat(source).whole, example(ASKED, named)) == "tool_call_not_rendered"
    assert "1 2" in chat(CALLS).whole(example(ASKED, named))


def test_of_the_options_for_a_scored_model_only_reasoning_holds_for_others():
    given = ChatOptions("drop", '{"loud": 1}', "source", "trl")
    assert of_any_model(given) == ChatOptions("drop")
    assert of_any_model(None) == ChatOptions()


def test_several_templates_without_a_default_are_named(tiny_tokenizer):
    tokenizer = load_tokenizer(str(tiny_tokenizer))
    tokenizer.chat_template = {"tool_use": LISTS, "rag": LISTS}
    with pytest.raises(ModelError, match=r"has several chat templates \(rag, tool_use\), and none"):
        ChatTemplate(tokenizer)
