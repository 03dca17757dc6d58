"""Conversations no model would have: scored on exactly what they say, or refused with a reason."""

from pathlib import Path

import pytest

from curate.contracts import Example, Rendering
from curate.models.load import load_tokenizer
from curate.models.text.chat_options import ChatOptions
from curate.models.text.render import Renderer

TEMPLATES = Path(__file__).resolve().parent / "chat_templates"
HERMES = '<tool_call>\n{"name": "get_tide", "arguments": {"port": "Brest"}}\n</tool_call>'


def user(content):
    return {"role": "user", "content": content}


def says(content, **more):
    return {"role": "assistant", "content": content, **more}


def rendered(folder, template, messages, context=None):
    tokenizer = load_tokenizer(str(folder))
    source = (TEMPLATES / f"{template}.jinja").read_text()
    renderer = Renderer(tokenizer, context, ChatOptions(template=source))
    (row,) = renderer.render([Example("0", tuple(messages))], Rendering("chat"))
    return row if isinstance(row, str) else (tokenizer.decode(row.targets), row)


@pytest.mark.parametrize(
    ("messages", "scored"),
    [
        ([user("a"), says("b"), user("c")], "b<|end|>"),
        ([user("a"), says("b"), says("c")], "b<|end|>c<|end|>"),
        ([user("a"), says("")], "<|end|>"),
        ([user("a"), {"role": "tool", "content": "0.1 m"}, says("Low.")], "Low.<|end|>"),
        ([user("a"), says(HERMES)], f"{HERMES}<|end|>"),
        ([{"role": "system", "content": "Be brief."}, says("Hello.")], "Hello.<|end|>"),
    ],
    ids=["user last", "two assistants", "empty turn", "result without call", "hermes", "no user"],
)
def test_only_what_the_assistant_said_is_scored(messages, scored, tiny_tokenizer):
    assert rendered(tiny_tokenizer, "strips_earlier_thinking", messages)[0] == scored


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "system", "content": "Be brief."}], "no_scored_tokens"),
        ([user([{"type": "image_url", "image_url": "u"}]), says("b")], "content_is_not_text"),
        ([user("x </s> y"), says("b")], "control_token_in_text"),
        ([user("a"), {"role": "tool", "content": "</s>"}, says("b")], "control_token_in_text"),
    ],
    ids=["system only", "image", "control token of a user", "control token of a tool"],
)
def test_what_cannot_be_scored_says_why(messages, reason, tiny_tokenizer):
    assert rendered(tiny_tokenizer, "plain", messages) == reason


def test_a_template_that_writes_all_roles_alike_still_scores_the_assistant_alone(tiny_tokenizer):
    scored, _ = rendered(tiny_tokenizer, "one_role", [user("a"), says("b"), user("c"), says("d")])
    assert scored.replace("</s>", "").split() == ["b", "d"]


def test_reasoning_longer_than_the_context_is_reported_as_truncated(tiny_tokenizer):
    long = [user("a"), says("b", reasoning_content="word " * 300)]
    scored, row = rendered(tiny_tokenizer, "strips_earlier_thinking", long, context=64)
    assert row.truncated
    assert len(row.ids) == 64
    assert scored.startswith("<think>\nword word")
    assert row.n_scored > len(row.targets)
