"""Turns with keys of several dialects, keys that are null, and speakers of any type."""

import shlex
from typing import Any

import pytest

from curate.data.messages import RowError, conversation
from curate.data.read.turn_keys import renamed_speakers, unread_turn_keys

CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
NOTHING = {"role": None, "content": None, "from": None, "value": None, "tool_calls": None}
PAIR = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


@pytest.mark.parametrize(
    "turns",
    [
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
        [{"from": "human", "content": "a"}, {"role": "assistant", "value": "b"}],
        PAIR,
    ],
)
def test_a_key_that_is_null_is_as_good_as_none(turns: list[dict[str, Any]]) -> None:
    assert conversation([{**NOTHING, **turn} for turn in turns], "messages") == PAIR


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "value": "", "tool_calls": [CALL]},
        {"from": "gpt", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": '[{"type": "function", "function": {"name": "f", '
         '"arguments": {"x": 1}}}]'},
        {"role": "assistant", "tool_calls": str([CALL])},
        {"from": "function_call", "value": "{'name': 'f', 'arguments': {'x': 1}}"},
    ],
)  # fmt: skip
def test_calls_are_kept_in_every_notation(turn: dict[str, Any]) -> None:
    (message,) = conversation([turn], "messages")
    assert message == CALLED


@pytest.mark.parametrize("none", ["[]", "null", [], None])
def test_no_calls_are_none_in_every_notation(none: Any) -> None:
    assert conversation([{**PAIR[1], "tool_calls": none}], "messages") == [PAIR[1]]


def test_the_advice_for_an_unknown_speaker_is_one_word_of_a_shell_and_works() -> None:
    for speaker in (0, "Mr X"):
        turns = [PAIR[0], {"role": speaker, "content": "b"}]
        with pytest.raises(RowError) as caught:
            conversation(turns, "messages")
        advice = shlex.split(str(caught.value).partition("say what it is with ")[2])
        assert advice[:2] == ["--role", f"{speaker}=assistant"]
        roles = {advice[1].partition("=")[0].lower(): "assistant"}
        assert conversation(renamed_speakers(turns, roles), "messages") == PAIR


def test_calls_beside_a_value_are_counted_as_not_read() -> None:
    turn = {"from": "gpt", "value": "b", "content": None, "tool_calls": [CALL]}
    assert list(unread_turn_keys([[turn]])) == ["tool_calls"]


def test_a_blank_speaker_is_none() -> None:
    with pytest.raises(RowError, match=r"^message 1 has no role \(blank\)$"):
        conversation([{"role": " ", "content": "a"}], "messages")
