"""The identity of an example: canonical JSON of what a model can see, and the hashes over it."""

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from curate.store.records import digest

_ENCODER: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_ESCAPED: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_ENDS: Final[dict[Any, str]] = {
    role: f',"role":"{role}"}}' for role in ("system", "user", "assistant", "tool")
}


class Identity(NamedTuple):
    """Hashes of one example, 32 hex digits each, and its messages and tools as JSON."""

    id: str
    group_id: str
    messages: str
    tools: str | None


def message_json(message: Mapping[str, Any]) -> str:
    """Return the canonical JSON of a message; a plain role with text takes a short cut.

    Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold.
    """
    if len(message) == 2:
        content = message.get("content")
        end = _ENDS.get(message.get("role"))
        if end is not None and type(content) is str:
            return '{"content":' + encode_basestring(content) + end
    return _ENCODER.encode(message)


def identify(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> Identity:
    """Hash an example and its group.

    The id is BLAKE2b-128 over the canonical JSON of ``{"messages": ..., "tools": ...}``, without
    ``tools`` where there are none; the group id is the same without the last message. The JSON
    returned is ASCII where a lone surrogate keeps the text from being UTF-8, else canonical.
    """
    *history, last = map(message_json, messages)
    before = ",".join(history)
    tools_json = None if tools is None else _ENCODER.encode(tools)
    after = "]}" if tools_json is None else f'],"tools":{tools_json}}}'
    comma = "," if history else ""
    try:
        shared = blake2b(f'{{"messages":[{before}'.encode(), digest_size=16)
        whole = shared.copy()
        whole.update(f"{comma}{last}{after}".encode())
        shared.update(after.encode())
        return Identity(
            whole.hexdigest(), shared.hexdigest(), f"[{before}{comma}{last}]", tools_json
        )
    except UnicodeEncodeError:
        start = f'{{"messages":[{before}'
        return Identity(
            digest(f"{start}{comma}{last}{after}"),
            digest(f"{start}{after}"),
            _ESCAPED.encode(list(messages)),
            None if tools is None else _ESCAPED.encode(tools),
        )


def column_group_id(value: object) -> str:
    """Return the group id of rows that share a value in the user's own group column."""
    return digest(f"group:{value}")
