"""Converts turns of any dialect to canonical messages, and checks what an example must have."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from curate.contracts.conversation import WEIGHT, is_trained
from curate.data.notations import object_of, value_in, value_of

Message: TypeAlias = dict[str, Any]

ROLES: Final = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant",
    "chatbot": "assistant", "function_call": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "claude": "assistant", "ai": "assistant",
    "tool": "tool", "observation": "tool", "function": "tool", "ipython": "tool",
    "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
_KEPT: Final = ("name", "tool_calls", "tool_call_id", "reasoning_content")
_SAID: Final = frozenset(("role", "content", "from", "value"))
MASKS: Final = ("loss", "training")  # of other trainers, where they are true or false
REASONING_NAMES: Final = ("reasoning_content", "reasoning", "thinking")
_KINDS: Final = {
    "NoneType": "null", "str": "text", "dict": "an object", "list": "a list", "bool": "a boolean",
    "int": "a number", "float": "a number", "bytes": "bytes",
}  # fmt: skip


class RowError(ValueError):
    """One row cannot become an example; the message is the reason, without the row's position."""


def kind(value: object) -> str:
    """Name a JSON value's type in words."""
    return _KINDS.get(type(value).__name__, type(value).__name__)


def text_of(message: Mapping[str, Any]) -> str:
    """Return everything readable in a message: reasoning, text, and tool calls as JSON.

    Parts that are not text are named in square brackets.
    """
    content = message.get("content")
    if type(content) is str and len(message) == 2:
        return content
    blocks = [message["reasoning_content"]] if message.get("reasoning_content") else []
    if isinstance(content, str):
        blocks.append(content)
    elif content:
        blocks.append("".join(_part_text(part) for part in content))
    blocks += [
        json.dumps(call, sort_keys=True, ensure_ascii=False)
        for call in message.get("tool_calls", ())
    ]
    return "\n".join(block for block in blocks if block)


def _part_text(part: Mapping[str, Any]) -> str:
    text = part.get("text")
    return text if isinstance(text, str) else f"[{part.get('type', 'part')}]"


def only_text(part: Mapping[str, Any]) -> str | None:
    """Return the text of a content part, None for one that is more than text; keys that are null say nothing."""
    text = part.get("text")
    more = any(v is not None for key, v in part.items() if key not in ("type", "text"))
    return text if isinstance(text, str) and not more else None


def history_text(history: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> str:
    """Render the messages before the last: a lone user's text, else ``role: text`` blocks.

    ``texts`` holds `text_of` of each message, and may be longer.
    """
    if len(history) == 1 and history[0]["role"] == "user":
        return texts[0]
    blocks = zip(history, texts, strict=False)
    return "\n\n".join(f"{message['role']}: {text}" for message, text in blocks)


def user(text: object, role: str) -> Message:
    """Return a user message from the column in the given ``role``."""
    return {"content": _text(text, role), "role": "user"}


def assistant(text: object, role: str) -> Message:
    """Return an assistant message; a null is an empty response, not a wrong type."""
    if text is None:
        raise RowError(f"empty response ({role} is null)")
    return {"content": _text(text, role), "role": "assistant"}


def system(text: object) -> list[Message]:
    """Return a system message as a list, empty for null or blank text."""
    if text is None or text == "":
        return []
    return [{"content": _text(text, "system"), "role": "system"}]


def _text(value: object, role: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise RowError(f"{role} is null or missing")
    raise RowError(f"{role} is {kind(value)}, not text")


def turns(value: object, role: str) -> list[Any]:
    """Return the list of turns a column holds.

    It holds them as a list, of objects or of their JSON texts; as an object of equally long lists,
    as `datasets` keeps a list of objects; or as the text of a list, in JSON or in Python's notation.
    """
    if isinstance(value, str):
        value = _list_in(value, role)
    if isinstance(value, Mapping):
        value = _transposed(value)
    if value is None:
        raise RowError(f"{role} is null or missing")
    if not isinstance(value, list):
        raise RowError(f"{role} is {kind(value)}, not a list of messages")
    if value and type(value[0]) is str and value[0].lstrip().startswith("{"):
        return [object_of(turn) for turn in value]
    return value


def _list_in(text: str, role: str) -> Any:
    try:
        return value_in(text)
    except ValueError:
        looks = text.lstrip().startswith("[")
        why = ": neither JSON nor Python's notation of a list" if looks else ""
        raise RowError(f"{role} is text, not a list of messages{why}") from None


def _transposed(value: Mapping[str, Any]) -> Any:
    """Return an object of equally long lists as the list of objects it stands for."""
    columns = list(value.values())
    if not (columns and all(isinstance(column, list) for column in columns)):
        return value
    if len({len(column) for column in columns}) > 1 or not _SAID & value.keys():
        return value
    rows = [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return [{key: held for key, held in row.items() if held is not None} for row in rows]


def is_conversation(value: object) -> bool:
    """Whether a prompt or response column holds messages rather than text."""
    return isinstance(value, list)


def conversation(value: object, role: str) -> list[Message]:
    """Canonicalise turns of any dialect: ``role`` and ``content``, ``from`` and ``value``, or mixed.

    Texts alone alternate between user and assistant, the user first. Tool calls, content parts,
    reasoning under any of its names and weights are kept.
    """
    listed = turns(value, role)
    if role in ("messages", "conversations") and all(isinstance(turn, str) for turn in listed):
        speakers = ("user", "assistant")
        return [{"content": text, "role": speakers[i % 2]} for i, text in enumerate(listed)]
    return [_message(turn, i) for i, turn in enumerate(listed, 1)]


def _message(turn: object, i: int) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"message {i} is {kind(turn)}, not an object with role and content")
    message = _sharegpt_message(turn, i) if _is_sharegpt(turn) else _openai_message(turn, i)
    if len(turn) > 2:
        _add_mask(message, turn, i)
    return message


def _is_sharegpt(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is read by ``value``; a key that is null is as good as none."""
    if turn.get("content") is not None and turn.get("role") is not None:
        return False
    if turn.get("value") is not None:
        return not ("content" in turn and turn.get("role") is not None and _calls_of(turn))
    return turn.get("from") is not None and "content" not in turn


def _calls_of(turn: Mapping[str, Any]) -> Any:
    return turn.get("tool_calls") or turn.get("function_call")


def _add_mask(message: Message, turn: Mapping[str, Any], i: int) -> None:
    """Keep that a turn of the assistant is not trained on; other turns never are."""
    for key in ("weight", "train", *MASKS):
        weight = turn.get(key)
        if weight is None or (key in MASKS and not isinstance(weight, bool)):
            continue
        if not isinstance(weight, bool | int | float) or weight not in (0, 1):
            raise RowError(f"message {i}: {key} is {weight!r}; a turn is trained (1) or not (0)")
        if not weight and message["role"] == "assistant":
            message[WEIGHT] = 0


def _openai_message(turn: Mapping[str, Any], i: int) -> Message:
    speaker = turn.get("role")
    role = _role(turn.get("from") if speaker is None else speaker, i)
    message: Message = {}
    content = turn.get("content")
    if type(content) is str:
        message["content"] = content
    elif content is not None:
        message["content"] = _parts(content, i, role)
    message["role"] = role
    for key in _KEPT:
        if kept := turn.get(key):
            message[key] = kept
    if (thought := _reasoning(turn, i)) and "reasoning_content" not in message:
        message["reasoning_content"] = thought
    if (call := turn.get("function_call")) and "tool_calls" not in message:
        message["tool_calls"] = [{"type": "function", "function": call}]
    if "tool_calls" in message:
        message["tool_calls"] = _calls(message["tool_calls"], i)
        if not message["tool_calls"]:
            del message["tool_calls"]
    for key in ("name", "tool_call_id", "reasoning_content"):
        if key in message and not isinstance(message[key], str):
            raise RowError(f"message {i}: {key} is {kind(message[key])}, not text")
    if "content" not in message and "tool_calls" not in message:
        raise RowError(f"message {i} ({role}) has no content (null or missing)")
    return message


def _parts(content: object, i: int, role: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise RowError(
            f"message {i} ({role}): content is {kind(content)}, not text or a list of parts"
        )
    parts = [{"text": part, "type": "text"} if isinstance(part, str) else part for part in content]
    return _objects(parts, f"message {i} ({role}): content")


def _objects(value: object, what: str) -> list[dict[str, Any]]:
    if isinstance(value, list):
        wrong = next((item for item in value if not isinstance(item, dict)), value)
        if wrong is value:
            return value
        raise RowError(f"{what} holds {kind(wrong)}, not only objects")
    raise RowError(f"{what} is {kind(value)}, not a list of objects")


def _calls(value: object, i: int) -> list[dict[str, Any]]:
    """Return tool calls, given as a list or as the text of one, of objects or of their JSON texts."""
    value = value_of(value)
    if value is None:
        return []
    if isinstance(value, list):
        value = [object_of(call) for call in value]
    return _objects(value, f"message {i}: tool_calls")


def _role(role: object, i: int) -> str:
    if role is None:
        raise RowError(f"message {i} has no role (null or missing)")
    if isinstance(role, str) and not role.strip():
        raise RowError(f"message {i} has no role (blank)")
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        raise RowError(
            f"message {i} has role {role!r}; known: {', '.join(ROLES)}; say what it is with "
            f"--role {shlex.quote(f'{str(role).strip()}=assistant')} (or user, system, tool)"
        )
    return known


def _sharegpt_message(turn: Mapping[str, Any], i: int) -> Message:
    speaker = turn.get("from")
    if speaker is None:
        speaker = turn.get("role")
    role = _role(speaker, i)
    value = turn.get("value")
    if value is None:
        raise RowError(f"message {i} ({speaker}) has no content (null or missing)")
    if not isinstance(value, str):
        raise RowError(f"message {i} ({speaker}): value is {kind(value)}, not text")
    thought = _reasoning(turn, i) if role == "assistant" else None
    reasoning = {"reasoning_content": thought} if thought else {}
    if isinstance(speaker, str) and speaker.strip().lower() == "function_call":
        return {"role": role, "tool_calls": _function_calls(value, i), **reasoning}
    return {"content": value, "role": role, **reasoning}


def _reasoning(turn: Mapping[str, Any], i: int) -> str | None:
    """Return the reasoning of a turn under any of its names; `RowError` for what is not text."""
    for name in REASONING_NAMES:
        value = turn.get(name)
        if value and not isinstance(value, str):
            raise RowError(f"message {i}: {name} is {kind(value)}, not text")
        if value and isinstance(value, str):
            return value
    return None


def _function_calls(text: str, i: int) -> list[dict[str, Any]]:
    value = value_of(text)
    calls = value if isinstance(value, list) else [value]
    if not calls or not all(isinstance(call, dict) and "name" in call for call in calls):
        raise RowError(f"message {i} (function_call) is not JSON with a name and arguments")
    return [{"type": "function", "function": call} for call in calls]


def tool_list(value: object) -> list[dict[str, Any]] | None:
    """Return a row's tools, given as a list or as JSON text; None if there are none."""
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, str):
        try:
            value = value_in(value)
        except ValueError:
            raise RowError("tools is text, not a list of objects or its JSON") from None
        if value is None:
            return None
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [object_of(tool) for tool in value]
    return _objects(value, "tools") or None


def check_example(messages: Sequence[Message]) -> None:
    """Raise `RowError` unless the last message is a non-empty one from the assistant."""
    if not messages:
        raise RowError("no messages")
    last = messages[-1]
    if WEIGHT in last and not any(map(is_trained, messages)):
        raise RowError("every turn of the assistant has weight 0, so there is none to train on")
    if last["role"] != "assistant":
        if any(message["role"] == "assistant" for message in messages):
            raise RowError(f"last message is not from the assistant but from the {last['role']}")
        raise RowError("no assistant turn")
    content = last.get("content")
    if type(content) is str:
        if content and not content.isspace():
            return
    elif content and any(_is_filled(part) for part in content):
        return
    if not last.get("tool_calls"):
        raise RowError("empty response")


def _is_filled(part: Mapping[str, Any]) -> bool:
    if "text" in part or part.get("type") == "text":
        return bool(str(part.get("text") or "").strip())
    return True
