"""Detection of the layout, and every layout's way to canonical messages."""

import json
from typing import Any

import pytest

from curate.data.messages import RowError, check_example, history_text, text_of
from curate.data.read.detection import Layout, detect
from curate.errors import ConfigError, DataError

Rows = list[dict[str, Any]]


def layout_of(rows: Rows, form: str = "auto", columns: dict[str, str] | None = None) -> Layout:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return detect("pool", names, lambda c: [row.get(c) for row in rows], form, columns or {})


def convert(
    row: dict[str, Any], form: str = "auto", columns: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    layout = layout_of([row], form, columns)
    values = [row.get(layout.columns.get(role, "")) for role in layout.format.roles]
    messages, tools = layout.format.convert(*values)
    check_example(messages)
    return messages, tools


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


ASKED, ANSWERED = turn("user", "a"), turn("assistant", "b")

ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [ASKED, ANSWERED]},
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "alpaca": {"instruction": "a", "input": "", "output": "b"},
    "prompt-completion": {"prompt": "a", "completion": "b"},
    "prompt-response": {"prompt": "a", "response": "b"},
    "prompt-responses": {"prompt": "a", "responses": ["b"]},
    "preference": {"prompt": "a", "chosen": "b", "rejected": "c"},
}


@pytest.mark.parametrize("name", ROWS)
def test_each_layout_is_detected_and_gives_the_same_messages(name: str) -> None:
    assert layout_of([ROWS[name]]).format.name == name
    assert convert(ROWS[name]) == ([ASKED, ANSWERED], None)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "response": "b"},
        {"question": "a", "answer": "b"},
        {"question": "a", "answer": "b", "solution": "why"},
        {"query": "a", "response": "b"},
        {"query": "a", "answer": "b"},
        {"problem": "a", "solution": "b", "answer": "4"},
        {"question": "a", "solution": "b"},
        {"input": "a", "output": "b"},
        {"problem": "a", "responses": [[ANSWERED]]},
        {"instruction": "a", "output": "b", "text": "all of it"},
        {"prompt": "a", "response": "b", "responses": ["c", "d"]},
        {"instruction": "a", "output": "b"},
        {"conversations": [ASKED, ANSWERED]},
        {"messages": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]},
        {"messages": json.dumps([ASKED, ANSWERED])},
        {"prompt": [ASKED], "completion": [ANSWERED]},
        {"prompt": [ASKED], "response": "b"},
        {"prompt": json.dumps([ASKED]), "response": [ANSWERED]},
        {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, ANSWERED]},
        {"prompt": "a", "chosen": [ASKED, ANSWERED], "rejected": []},
        {"prompt": "a", "chosen": [ANSWERED], "rejected": []},
        {"prompt": [ASKED], "chosen": [ANSWERED], "rejected": [ANSWERED]},
        {"prompt": [ASKED], "chosen": [ASKED, ANSWERED], "rejected": []},
    ],
)
def test_other_spellings_of_the_same_example(row: dict[str, Any]) -> None:
    assert convert(row) == ([ASKED, ANSWERED], None)


def test_text_alone_is_a_response_without_a_prompt() -> None:
    assert convert({"text": "b", "url": "x"}) == ([ANSWERED], None)


def test_alpaca_joins_input_and_keeps_system_and_history() -> None:
    row = {
        "instruction": "add", "input": "1 2", "output": "3", "system": "be brief",
        "history": [["hi", "hello"]],
    }  # fmt: skip
    assert convert(row)[0] == [
        turn("system", "be brief"), turn("user", "hi"), turn("assistant", "hello"),
        turn("user", "add\n\n1 2"), turn("assistant", "3"),
    ]  # fmt: skip


def test_context_belongs_to_an_instruction_with_a_response() -> None:
    row = {"instruction": "who", "context": "Ann did it", "response": "Ann"}
    assert convert(row)[0][0]["content"] == "who\n\nAnn did it"


def test_openai_messages_keep_tools_parts_and_reasoning() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    listed = [
        turn("developer", "rules"),
        {"role": "user", "content": [{"type": "text", "text": "look"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "42", "reasoning_content": "it says so", "weight": 1},
    ]
    messages, found = convert({"messages": listed, "tools": json.dumps(tools)})
    assert found == tools
    assert messages == [
        turn("system", "rules"),
        {"role": "user", "content": [{"type": "text", "text": "look"}], "name": "ann"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
        {"role": "assistant", "content": "42", "reasoning_content": "it says so"},
    ]


def test_old_function_calls_become_tool_calls() -> None:
    call = {"name": "f", "arguments": "{}"}
    row = {"messages": [ASKED, {"role": "assistant", "content": None, "function_call": call}]}
    assert convert(row)[0][1]["tool_calls"] == [{"type": "function", "function": call}]


def test_sharegpt_speakers_and_function_calls() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
            {"from": "observation", "value": "1"},
            {"from": "gpt", "value": "b"},
        ],
        "system": "s",
        "tools": '[{"name": "f"}]',
    }
    messages, tools = convert(row)
    assert tools == [{"name": "f"}]
    assert [message["role"] for message in messages] == [
        "system", "user", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert messages[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages is null or missing"),
    ({"messages": []}, "no messages"),
    ({"messages": "hi"}, "messages is text, not a list of messages"),
    ({"messages": {"role": "user"}}, "messages is an object, not a list of messages"),
    ({"messages": [ASKED, None]}, "message 2 is null, not an object with role and content"),
    ({"messages": [{"role": None, "content": "a"}]}, "message 1 has no role (null or missing)"),
    (
        {"messages": [{"role": "user", "content": None}, ANSWERED]},
        "message 1 (user) has no content (null or missing)",
    ),
    (
        {"messages": [ASKED, {"role": "assistant", "content": 7}]},
        "message 2 (assistant): content is a number, not text or a list of parts",
    ),
    ({"messages": [turn("alien", "a")]}, "message 1 has role 'alien'; known: system, "),
    ({"messages": [ASKED]}, "no assistant turn"),
    (
        {"messages": [ASKED, ANSWERED, ASKED]},
        "last message is not from the assistant but from the user",
    ),
    ({"messages": [ASKED, turn("assistant", " \n")]}, "empty response"),
    (
        {"messages": [ASKED, {"role": "assistant", "content": [{"type": "text", "text": " "}]}]},
        "empty response",
    ),
    ({"messages": [ASKED, ANSWERED], "tools": "web"}, "tools is text, not a list of objects"),
    ({"messages": [ASKED, ANSWERED], "tools": ["web"]}, "tools holds text, not only objects"),
    (
        {"messages": [ASKED, {**ANSWERED, "tool_calls": "f"}]},
        "message 2: tool_calls is text, not a list of objects",
    ),
    (
        {"messages": [ASKED, {**ANSWERED, "reasoning_content": 1}]},
        "message 2: reasoning_content is a number, not text",
    ),
    ({"prompt": "a", "response": ""}, "empty response"),
    (
        {"instruction": [ASKED], "response": "b", "input": "c"},
        "input stands beside a prompt of turns, which has no place for it",
    ),
    ({"prompt": "a", "response": None}, "empty response (response is null)"),
    ({"prompt": None, "response": "b"}, "prompt is null or missing"),
    ({"prompt": "a", "response": 3}, "response is a number, not text"),
    ({"prompt": "a", "completion": []}, "no assistant turn"),
    ({"chosen": "b", "rejected": "c"}, "chosen is text but there is no prompt to go before it"),
    (
        {"conversations": [{"from": "human", "value": None}]},
        "message 1 (human) has no content (null or missing)",
    ),
    (
        {"conversations": [{"from": "function_call", "value": "f()"}]},
        "message 1 (function_call) is not JSON with a name and arguments",
    ),
    (
        {"instruction": "a", "output": "b", "history": ["x"]},
        "history is not a list of pairs of instruction and response",
    ),
    ({"instruction": "a", "input": 3, "output": "b"}, "input is a number, not text"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_what_is_no_example_says_why(row: dict[str, Any], reason: str) -> None:
    form = "sharegpt" if "conversations" in row else "messages" if "messages" in row else "auto"
    with pytest.raises(RowError) as caught:
        convert(row, form)
    assert str(caught.value).startswith(reason)


def test_nothing_fits_lists_columns_and_formats() -> None:
    with pytest.raises(DataError) as caught:
        layout_of([{"words": "a", "label": 1}])
    message = str(caught.value)
    assert message.startswith(
        "pool does not fit any known format; its columns are words, label; known"
    )
    assert "alpaca (instruction+output)" in message
    assert "prompt-response (prompt+response or instruction+response" in message
    assert message.endswith("which column has which role: --column messages=dialogs")


def test_several_fit_lists_them() -> None:
    with pytest.raises(DataError) as caught:
        layout_of([{"messages": [ASKED, ANSWERED], "prompt": "a", "completion": "b"}])
    message = str(caught.value)
    assert message.startswith(
        "pool fits more than one format: messages (messages), prompt-completion (prompt+completion)"
    )
    assert "choose with --format messages, or with --column messages=messages" in message


def test_format_and_column_settle_what_is_ambiguous() -> None:
    rows = [{"messages": [ASKED, ANSWERED], "prompt": "a", "completion": "b"}]
    assert layout_of(rows, "prompt-completion").format.name == "prompt-completion"
    assert layout_of(rows, columns={"messages": "messages"}).format.name == "messages"
    both = [{"question": "a", "answer": "b", "prompt": "c", "response": "d"}]
    with pytest.raises(DataError, match="fits more than one format"):
        layout_of(both)
    assert layout_of(both, "prompt-response").columns["prompt"] == "prompt"
    mapped = layout_of(both, columns={"prompt": "question", "response": "answer"})
    assert mapped.columns == {"prompt": "question", "response": "answer"}


def test_columns_are_mapped_whatever_they_hold() -> None:
    openai = layout_of([{"dialogs": [ASKED, ANSWERED]}], columns={"messages": "dialogs"})
    assert (openai.format.name, openai.columns["messages"]) == ("messages", "dialogs")
    share = {"dialogs": [{"from": "human", "value": "a"}]}
    assert layout_of([share], columns={"conversations": "dialogs"}).format.name == "sharegpt"


def test_optional_columns_are_found_and_can_be_switched_off() -> None:
    rows = [{"uid": 7, "source": "web", "prompt": "a", "response": "b", "group": "g"}]
    assert layout_of(rows).columns == {
        "prompt": "prompt", "response": "response", "id": "uid", "source": "source",
    }  # fmt: skip
    switched = layout_of(rows, columns={"id": "", "source": "", "group_id": "group"})
    assert switched.columns == {"prompt": "prompt", "response": "response", "group_id": "group"}


def test_of_two_columns_for_a_role_the_one_with_content_is_read() -> None:
    rows = [{"system": None, "system_prompt": "be brief", "messages": [ASKED, ANSWERED]}]
    assert layout_of(rows).columns["system"] == "system_prompt"
    assert layout_of([{**rows[0], "system_prompt": ""}]).columns["system"] == "system"


def test_a_source_column_that_is_not_text_is_left_alone() -> None:
    assert "source" not in layout_of([{"source": 3, "prompt": "a", "response": "b"}]).columns


@pytest.mark.parametrize(
    ("form", "columns", "error", "words"),
    [
        (
            "alpacca",
            {},
            ConfigError,
            "unknown format 'alpacca'; did you mean 'alpaca'; choose auto",
        ),
        ("auto", {"mesages": "x"}, ConfigError, "--column mesages=x: unknown role 'mesages'; did"),
        (
            "auto",
            {"messages": "dialog"},
            DataError,
            "has no column 'dialog'; did you mean 'dialogs'",
        ),
        (
            "alpaca",
            {},
            DataError,
            "pool does not fit the format 'alpaca'; its columns are dialogs;",
        ),
    ],
)
def test_wrong_options_name_what_would_be_right(
    form: str, columns: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        layout_of([{"dialogs": [ASKED, ANSWERED]}], form, columns)
    assert words in str(caught.value)


def test_history_of_one_user_is_its_text_and_else_labelled_blocks() -> None:
    messages = [turn("system", "s"), turn("user", "a"), turn("assistant", "b")]
    texts = [text_of(message) for message in messages]
    assert history_text(messages[1:2], texts[1:]) == "a"
    assert history_text(messages[:2], texts) == "system: s\n\nuser: a"
    assert text_of({"role": "assistant", "tool_calls": [{"name": "f"}]}) == '{"name": "f"}'
    image = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}
    assert text_of(image) == "[image]?"
