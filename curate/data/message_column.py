"""Conversations as an Arrow column of lists of structs, which frames and datasets read as they are."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from curate.contracts.json_values import json_text
from curate.data.surrogates import replaced

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN: Final = "messages"
_ORDER: Final = ("role", "content", "reasoning_content", "tool_calls", "name", "tool_call_id")

Rows = Sequence[Sequence[Mapping[str, Any]]]


def with_message_lists(table: "pa.Table") -> "pa.Table":
    """Return a table whose column ``messages`` holds lists of structs instead of JSON; see `message_column`."""
    if COLUMN not in table.column_names:
        return table
    place = table.schema.get_field_index(COLUMN)
    return table.set_column(place, COLUMN, message_column(table[COLUMN].to_pylist()))


def message_column(texts: Sequence[str]) -> "pa.Array":
    """Return conversations, given as JSON, as an array of lists of structs.

    A struct has the fields that occur in any of the messages; where a message lacks one it is null.
    ``content`` is text or, where any message has parts, a list of parts everywhere: a text is then
    one part ``{type: "text", text}``. ``tool_calls`` is a list of ``{id, type, function: {name,
    arguments}}`` with the arguments as JSON text, because those of different tools have different
    types. Any other object or list whose shape differs from message to message is its JSON text too.
    Half of a surrogate pair, which no such column can hold, becomes U+FFFD. O(characters).
    """
    import pyarrow as pa

    rows = [replaced(json.loads(text)) for text in texts]
    said = [message.get("content") for turns in rows for message in turns]
    if any(isinstance(content, list) for content in said):
        rows = [[_with_parts(message) for message in turns] for turns in rows]
    type_, made = _structs([message for turns in rows for message in turns], _ORDER)
    left = iter(made)
    return pa.array([[next(left) for _ in turns] for turns in rows], pa.list_(type_))


def _with_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": [{"type": "text", "text": content}]}
    return dict(message)


def _structs(
    objects: Sequence[Mapping[str, Any]], order: Sequence[str] = ()
) -> "tuple[pa.DataType, list[dict[str, Any]]]":
    """Return one struct type for objects, and the objects with values of that type."""
    import pyarrow as pa

    seen = dict.fromkeys(name for item in objects for name in item) or dict.fromkeys(order[:2])
    names = [*(name for name in order if name in seen), *(n for n in seen if n not in order)]
    fields, columns = [], {}
    for name in names:
        type_, columns[name] = _values(name, [item.get(name) for item in objects])
        fields.append(pa.field(name, type_))
    made = [{name: columns[name][k] for name in names} for k in range(len(objects))]
    return pa.struct(fields), made


def _values(name: str, values: list[Any]) -> "tuple[pa.DataType, list[Any]]":
    """Return the type of one field over all objects, and its values in that type."""
    import pyarrow as pa

    present = [value for value in values if value is not None]
    if not present or all(isinstance(value, str) for value in present):
        return pa.string(), values
    if name == "tool_calls":
        values = [None if calls is None else [_call(call) for call in calls] for calls in values]
        present = [calls for calls in values if calls is not None]
    if all(isinstance(value, bool) for value in present):
        return pa.bool_(), values
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return pa.float64(), values
    if all(isinstance(value, dict) for value in present):
        if len({frozenset(value) for value in present}) == 1 and present[0]:
            return _spread(values, present)
    elif all(isinstance(value, list) for value in present):
        items = [item for value in present for item in value]
        if items and all(isinstance(item, dict) for item in items):
            type_, made = _structs(items, ("id", "type", "text", "function"))
            left = iter(made)
            listed = [None if value is None else [next(left) for _ in value] for value in values]
            return pa.list_(type_), listed
    return pa.string(), [_as_text(value) for value in values]


def _spread(
    values: list[Any], present: Sequence[dict[str, Any]]
) -> "tuple[pa.DataType, list[Any]]":
    type_, made = _structs(present)
    left = iter(made)
    return type_, [None if value is None else next(left) for value in values]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or "arguments" not in function:
        return dict(call)
    return {**call, "function": {**function, "arguments": _as_text(function["arguments"])}}


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json_text(value).decode()
