"""What is written in a dialect is read back as the same example."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.data.identity import identify
from curate.data.messages import RowError
from curate.data.read.formats import FORMATS
from curate.data.write.dialects import DIALECTS

text = st.text(max_size=10)
filled = text.map(lambda words: words + ".")


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    n_turns = draw(st.integers(1, 3))
    messages = [{"role": "system", "content": draw(filled)}] if draw(st.booleans()) else []
    for _ in range(n_turns):
        messages.append({"role": "user", "content": draw(text)})
        messages.append({"role": "assistant", "content": draw(filled)})
    return messages


def read_back(name: str, row: dict[str, Any]) -> Any:
    layout = FORMATS[name]
    columns = {role: name for role, name in layout.required[0].items()}
    columns |= {role: names[0] for role, names in layout.optional.items()}
    messages, tools = layout.convert(*(row.get(columns[role]) for role in layout.roles))
    return identify(messages, tools)


@given(conversations())
@pytest.mark.parametrize("name", ["messages", "sharegpt", "alpaca"])
def test_conversations_are_read_back_the_same(name: str, messages: list[dict[str, Any]]) -> None:
    assert read_back(name, DIALECTS[name](messages, None)) == identify(messages)


@given(text, filled)
def test_pairs_are_read_back_the_same(prompt: str, completion: str) -> None:
    messages = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": completion},
    ]
    row = DIALECTS["prompt-completion"](messages, None)
    assert row == {"prompt": prompt, "completion": completion}
    assert read_back("prompt-completion", row) == identify(messages)


def test_tools_are_read_back_the_same() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "1"},
        {"role": "assistant", "tool_calls": [call, call]},
    ]
    for name in ("messages", "sharegpt"):
        assert read_back(name, DIALECTS[name](messages, tools)) == identify(messages, tools)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "assistant", "content": "b"}], "turns that do not alternate"),
        (
            [
                {"role": "system", "content": ""},
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
            ],
            "an empty system message",
        ),
    ],
)
def test_what_alpaca_cannot_hold_is_refused(messages: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        DIALECTS["alpaca"](messages, None)
    with pytest.raises(RowError, match="tools"):
        DIALECTS["alpaca"](messages, [{"name": "f"}])
