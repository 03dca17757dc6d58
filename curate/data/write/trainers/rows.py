"""Rows as trainers read them: messages with plain text, and tool calls as JSON text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from curate.contracts.conversation import TEMPLATE_ARGUMENTS, WEIGHT
from curate.data.messages import Message, RowError
from curate.data.write.dialects import Row, plain_text, refuse
from curate.data.write.row_formats import Reduced, Tools, text_only, without

_KEPT: Final = ("reasoning_content", "name", "tool_call_id")
_NO_JSON: Final = "tool arguments that are not JSON"
NOT_READ: Final = (WEIGHT, TEMPLATE_ARGUMENTS)  # by trainers, turn by turn or row by row


def reduce_chat(messages: Sequence[Message], tools: Tools) -> Reduced:
    """Remove content that is not text, weights of turns and arguments of a chat template.

    Arguments of a tool call that are not JSON are written as one JSON text.
    """
    kept, left, lost = text_only(messages, tools)
    kept = [_with_json(message, lost) for message in kept]
    return without(kept, NOT_READ, lost), left, lost


def _with_json(message: Message, lost: list[str]) -> Message:
    calls = []
    for call in message.get("tool_calls", ()):
        try:
            json_arguments(call)
        except RowError as error:
            function = call.get("function", call)
            if str(error) != _NO_JSON:
                raise
            lost.append(_NO_JSON)
            quoted = {**function, "arguments": json_text(function["arguments"])}
            call = {**call, "function": quoted} if "function" in call else quoted
        calls.append(call)
    return {**message, "tool_calls": calls} if calls else message


def chat_message(message: Message) -> Row:
    """Return a message with role, content and its other fields; text parts become one text.

    Raises `RowError` for content that is not text, for a turn that is not trained on, and for
    arguments of a chat template.
    """
    refuse(message, *NOT_READ)
    row: Row = {"role": message["role"]}
    if "content" in message:
        row["content"] = plain_text(message["content"])
    row |= {key: message[key] for key in _KEPT if key in message}
    if calls := message.get("tool_calls"):
        row["tool_calls"] = [json_arguments(call) for call in calls]
    return row


def json_arguments(call: Mapping[str, Any]) -> Row:
    """Return a tool call ``{id, type, function: {name, arguments}}`` with arguments as JSON text.

    As text, because columns have one type and arguments of different tools have many. None at all
    are an empty object. Raises `RowError` for a call without a name, and for text that is not JSON.
    """
    function = call.get("function", call)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError("a tool call without a function name")
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json_text(arguments)
    if arguments is None or not text.strip():
        text = "{}"
    try:
        json.loads(text)
    except ValueError:
        raise RowError(_NO_JSON) from None
    row: Row = {"type": "function", "function": {"name": function["name"], "arguments": text}}
    return {"id": call["id"], **row} if isinstance(call.get("id"), str) else row


def json_text(value: object) -> str:
    """Return a value as JSON, letters of any language as they are."""
    return json.dumps(value, ensure_ascii=False)


def chat_row(messages: Sequence[Message], tools: Tools) -> Row:
    """Return ``messages``, and ``tools`` as JSON text where there are any."""
    row: Row = {"messages": [chat_message(message) for message in messages]}
    return row if not tools else {**row, "tools": json_text(list(tools))}
