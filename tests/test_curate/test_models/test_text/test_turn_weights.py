"""Turns that are not trained on, and a conversation's own arguments of the chat template."""

from typing import Any

import pytest

from curate.contracts import Example
from curate.contracts.conversation import TEMPLATE_ARGUMENTS, is_trained
from curate.models.text.chat import ChatTemplate
from curate.models.text.chat_options import ChatOptions
from curate.models.text.templates import text_template

TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "5", "weight": 0},
    {"role": "user", "content": "No."},
    {"role": "assistant", "content": "4"},
]
SOURCE = (
    "{%- for m in messages %}<{{ m.role }}{{ ' weighed' if m.weight is defined }}>{{ m.content }}"
    "\n{%- endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Tokenizer:
    """As much of a tokenizer as a chat template needs."""

    name_or_path = "made-here"

    def __init__(self, source: str) -> None:
        self.chat_template = source
        self.special_tokens_map: dict[str, str] = {}
        self.added_tokens_decoder: dict[int, Any] = {}
        self.all_special_tokens: list[str] = []

    def get_chat_template(self, tools: Any = None) -> str:
        return self.chat_template

    def get_vocab(self) -> dict[str, int]:
        return {}


def chat(source: str, **options: Any) -> ChatTemplate:
    return ChatTemplate(Tokenizer(source), ChatOptions(**options))  # type: ignore[arg-type]


def test_a_chat_template_scores_only_the_turns_with_weight() -> None:
    (row,) = chat(SOURCE).rows(Example("", tuple(TURNS)), "all")
    assert [row.text[start:stop].strip() for start, stop in row.spans] == ["4"]
    assert "weighed" not in row.text and "<assistant>5" in row.text


def test_a_text_template_scores_only_the_turns_with_weight() -> None:
    text, spans = text_template("plain").render(Example("", tuple(TURNS)))
    assert text == "2+2?\n5\nNo.\n4"
    assert [text[start:stop] for start, stop in spans] == ["4"]


def test_only_an_assistant_turn_without_weight_0_is_trained() -> None:
    assert [is_trained(turn) for turn in TURNS] == [False, False, False, True]


@pytest.mark.parametrize(("own", "seen"), [({}, "short"), ({"style": "long"}, "long")])
def test_arguments_of_a_row_reach_the_template_and_go_before_those_of_the_command(
    own: dict[str, Any], seen: str
) -> None:
    source = "[{{ style }}]" + SOURCE
    first = {**TURNS[0], TEMPLATE_ARGUMENTS: own} if own else TURNS[0]
    template = chat(source, arguments='{"style": "short"}')
    (row,) = template.rows(Example("", (first, TURNS[3])), "all")
    assert row.text.startswith(f"[{seen}]<user>2+2?")
    assert template.prompt((first,), None).startswith(f"[{seen}]<user>2+2?")
