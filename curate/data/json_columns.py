"""Columns of Arrow's JSON type, as `datasets` writes values of mixed types: what their texts say."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from curate.data.notations import object_of

_ARGUMENTS: Final = "arguments"  # of a tool call, which are JSON text in the dialect of OpenAI
_TEXTS: Final = frozenset(
    (
        "content", "value", "text", "prompt", "completion", "response", "instruction", "input",
        "output", "system", "system_prompt", "chosen", "rejected", "question", "answer", "query",
        "problem", "solution", "context",
    )
)  # fmt: skip


def holds_json(type_: pa.DataType) -> bool:
    """Whether a type is Arrow's JSON type, or has it anywhere inside."""
    if isinstance(type_, pa.JsonType):
        return True
    return any(holds_json(type_.field(i).type) for i in range(type_.num_fields))


def said_by(name: str, value: Any, type_: pa.DataType) -> Any:
    """Return a value of a column or field with what its JSON texts say; maps are dictionaries.

    `datasets` stores a text that is JSON by itself as it is. So arguments of a tool call and texts
    of a turn or a prompt stay what they are, unless they are the JSON of a text, or of a list of
    objects: content parts, or turns.
    """
    if value is None or not holds_json(type_):
        return value
    if isinstance(type_, pa.JsonType):
        said = object_of(value)
        if name == _ARGUMENTS:
            return said if isinstance(said, str) else value
        return value if name in _TEXTS and not (said is None or _is_said(said)) else said
    if pa.types.is_struct(type_):
        return {key: said_by(key, held, type_.field(key).type) for key, held in value.items()}
    if pa.types.is_map(type_):
        return {key: said_by(str(key), held, type_.item_type) for key, held in dict(value).items()}
    return [said_by("", item, type_.value_type) for item in value]


def _is_said(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, str)
