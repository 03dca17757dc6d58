"""Writes canonical messages in the dialects of other tools, and says what each cannot hold."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from curate.contracts.conversation import TEMPLATE_ARGUMENTS, WEIGHT
from curate.data.messages import Message, RowError, only_text, text_of

Row: TypeAlias = dict[str, Any]
NOT_FLAT: Final = ("reasoning_content", "name", WEIGHT, TEMPLATE_ARGUMENTS)
_NAMED: Final = {
    WEIGHT: "a turn that is not trained on",
    TEMPLATE_ARGUMENTS: "arguments of a chat template",
}
_SPEAKERS: Final = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def to_messages(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> Row:
    """Return ``{"messages": [...]}`` with role first, and any ``tools``. Lossless.

    Arguments of the chat template stand beside the messages, as ``chat_template_kwargs``.
    """
    row: Row = {"messages": [_role_first(message) for message in messages]}
    if tools:
        row["tools"] = list(tools)
    if TEMPLATE_ARGUMENTS in messages[0]:
        row[TEMPLATE_ARGUMENTS] = messages[0][TEMPLATE_ARGUMENTS]
    return row


def _role_first(message: Message) -> Row:
    ordered: Row = {"role": message["role"]}
    if "content" in message:
        ordered["content"] = message["content"]
    ordered |= message
    ordered.pop(TEMPLATE_ARGUMENTS, None)
    return ordered


def to_sharegpt(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> Row:
    """Return ``{"conversations": [{"from", "value"}]}``; tool calls become ``function_call`` turns.

    Ids of tool calls have no place in the format and are left out. Raises `RowError` for reasoning,
    names, parts that are not text, text beside tool calls, and arguments of a chat template.
    """
    row: Row = {"conversations": [_sharegpt_turn(message) for message in messages]}
    if tools:
        row["tools"] = json.dumps(list(tools), ensure_ascii=False)
    return row


def _sharegpt_turn(message: Message) -> Row:
    refuse(message, "reasoning_content", "name", TEMPLATE_ARGUMENTS)
    weight = {WEIGHT: message[WEIGHT]} if WEIGHT in message else {}
    if calls := message.get("tool_calls"):
        if text_of({**message, "tool_calls": []}):
            raise RowError("text beside a tool call")
        functions = [call.get("function", call) for call in calls]
        value = json.dumps(functions[0] if len(functions) == 1 else functions, ensure_ascii=False)
        return {"from": "function_call", "value": value, **weight}
    return {"from": _SPEAKERS[message["role"]], "value": _text_of(message), **weight}


def to_alpaca(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> Row:
    """Return ``instruction, input, output``; ``system`` and ``history`` if there are any.

    Raises `RowError` for tools, parts that are not text, turns that do not alternate, and turns
    that are not trained on.
    """
    if tools:
        raise RowError("tools")
    before, pairs = _pairs(messages)
    row: Row = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    if before is not None:
        row["system"] = before
    if len(pairs) > 1:
        row["history"] = pairs[:-1]
    return row


def to_prompt_completion(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
) -> Row:
    """Return ``prompt, completion``; raises `RowError` for anything but one question and its answer."""
    if tools:
        raise RowError("tools")
    before, pairs = _pairs(messages)
    if before is not None:
        raise RowError("a system message")
    if len(pairs) > 1:
        raise RowError("more than one turn")
    return {"prompt": pairs[0][0], "completion": pairs[0][1]}


def _pairs(messages: Sequence[Message]) -> tuple[str | None, list[list[str]]]:
    refuse(messages[0], TEMPLATE_ARGUMENTS)
    turns = list(messages)
    before = _text_of(turns.pop(0)) if turns[0]["role"] == "system" else None
    if before == "":
        raise RowError("an empty system message")
    roles = [turn["role"] for turn in turns]
    if "tool" in roles or any("tool_calls" in turn for turn in turns):
        raise RowError("tool calls")
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        raise RowError("turns that do not alternate between user and assistant")
    for turn in turns:
        refuse(turn, *NOT_FLAT)
    texts = [_text_of(turn) for turn in turns]
    return before, [texts[i : i + 2] for i in range(0, len(texts), 2)]


def _text_of(message: Message) -> str:
    return plain_text(message.get("content", ""))


def plain_text(content: str | Sequence[Mapping[str, Any]]) -> str:
    """Return content as one text; raise `RowError` if it is more than text."""
    if isinstance(content, str):
        return content
    texts = [only_text(part) for part in content]
    if None in texts:
        raise RowError("content that is not text")
    return "".join(text for text in texts if text)


def refuse(message: Message, *keys: str) -> None:
    """Raise `RowError` that names the first of the keys a message has."""
    for key in keys:
        if key in message:
            raise RowError(named(key))


def named(key: str) -> str:
    """Say what a key of a message is."""
    return _NAMED.get(key, f"a {key}")


DIALECTS: Final[
    Mapping[str, Callable[[Sequence[Message], Sequence[Mapping[str, Any]] | None], Row]]
] = {
    "messages": to_messages,
    "sharegpt": to_sharegpt,
    "alpaca": to_alpaca,
    "prompt-completion": to_prompt_completion,
}
