"""Chunks of rows as canonical examples, in the columns the store takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, final

import pyarrow as pa

from curate.contracts.conversation import TEMPLATE_ARGUMENTS
from curate.data.identity import Identity, column_group_id, identify
from curate.data.messages import (
    Message,
    RowError,
    check_example,
    history_text,
    kind,
    text_of,
)
from curate.data.notations import object_of, turns_in, value_of
from curate.data.read.detection import Layout
from curate.data.read.formats import MEDIA_ROLES
from curate.data.read.records import BadRecord, Chunk
from curate.data.read.turn_keys import is_filled, renamed_speakers
from curate.data.surrogates import WHAT, lone_surrogate, replaced

EXAMPLE_SCHEMA: Final = pa.schema(
    [
        ("position", pa.int64()), ("id", pa.string()), ("group_id", pa.string()),
        ("external_id", pa.string()), ("source", pa.string()), ("messages", pa.string()),
        ("tools", pa.string()), ("prompt", pa.string()), ("response", pa.string()),
        ("n_chars", pa.int64()), ("input_at", pa.int64()),
    ]
)  # fmt: skip
_ESCAPE: Final = "\\ud"  # in every JSON text that writes a surrogate
_LABELS: Final = ("id", "source", "group_id")


class CanonicalRow(NamedTuple):
    """One usable row: where it is in the chunk, its messages and tools, its identity.

    ``input_at`` is as in `curate.contracts.Example`.
    """

    at: int
    messages: list[Message]
    tools: list[dict[str, Any]] | None
    identity: Identity
    input_at: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Canonical:
    """The usable rows of a chunk as flat columns, and the unusable ones.

    Only texts and numbers: messages kept for a whole chunk would have the garbage collector walk
    them. ``kept`` holds the indices into the chunk; the columns are those of `EXAMPLE_SCHEMA`.
    ``own_system`` are the indices of those whose own system turn goes before another system column.
    """

    kept: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    tools: list[str | None] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    n_chars: list[int] = field(default_factory=list)
    input_at: list[int | None] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    own_system: list[int] = field(default_factory=list)


def columns_of(chunk: Chunk, layout: Layout) -> list[Sequence[Any]]:
    """Return the values of a chunk in the order of the format's roles."""
    names = set(chunk.raw.schema.names) if chunk.rows is None else None
    columns: list[Sequence[Any]] = []
    for role in layout.format.roles:
        column = layout.columns.get(role)
        if column is None or (names is not None and column not in names):
            columns.append([None] * len(chunk))
        else:
            columns.append(chunk.values(column))
    return columns


def canonical_rows(chunk: Chunk, layout: Layout) -> Iterator[CanonicalRow | BadRecord]:
    """Convert each row to messages and hash it; a row that cannot be converted is yielded as a bad record."""
    convert = layout.format.convert
    roles = layout.format.roles
    extra = roles.index("input") if "input" in roles else None
    arguments = _optional(chunk, layout, "template_args")
    media = {r: cells for r in MEDIA_ROLES if (cells := _optional(chunk, layout, r))}
    columns = columns_of(chunk, layout)
    if layout.roles:
        columns = [
            _mapped(column, layout.roles, is_text=role != "messages")
            for role, column in zip(roles, columns, strict=True)
        ]
    for i, values in enumerate(zip(*columns, strict=True)):
        try:
            messages, tools = convert(*values)
            check_example(messages)
            for role, held in media.items():
                _refuse_media(held[i], layout.columns[role], role)
            if arguments is not None and (own := _arguments(arguments[i])):
                messages[0] = {**messages[0], TEMPLATE_ARGUMENTS: own}
            at = None if extra is None or not values[extra] else _input_at(messages, values[extra])
            identity = identify(messages, tools)
            if layout.format.name == "text":  # these do not all answer one empty instruction
                identity = identity._replace(group_id=identity.id)
            row = CanonicalRow(i, messages, tools, identity, at)
        except RowError as error:
            yield BadRecord(chunk.positions[i], chunk.place(i), str(error))
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"not representable as JSON: {error}"
            yield BadRecord(chunk.positions[i], chunk.place(i), reason)
        else:
            yield row


def _optional(chunk: Chunk, layout: Layout, role: str) -> list[Any] | None:
    """Return the column in an optional role, None where no column has it."""
    column = layout.columns.get(role)
    if column is None or (chunk.rows is None and column not in chunk.raw.schema.names):
        return None
    return chunk.values(column)


def _mapped(column: Sequence[Any], roles: Mapping[str, str], *, is_text: bool) -> list[Any]:
    """Return a column with mapped speakers; where it ``is_text`` a text may be more than turns."""
    return [
        v if isinstance(v, str) and is_text and turns_in(v) is None else renamed_speakers(v, roles)
        for v in column
    ]


def _refuse_media(held: Any, column: str, role: str) -> None:
    held = value_of(held)
    if is_filled(held):
        n = len(held) if isinstance(held, list) else 1
        raise RowError(
            f"column {column!r} holds {n} {role if n > 1 else role.removesuffix('s')}; {role} are not "
            f"read: --column {role}= reads the text alone"
        )


def _arguments(held: Any) -> dict[str, Any]:
    arguments = value_of(held) or {}
    if not isinstance(arguments, dict):
        raise RowError(f"{TEMPLATE_ARGUMENTS} is {kind(held)}, not an object")
    return arguments


def _input_at(messages: Sequence[Message], extra: str) -> int:
    """Return where a row's input begins in the message before the last, which ends with it."""
    return len(messages[-2]["content"]) - len(extra)


def new_rows(chunk: Chunk, layout: Layout) -> Iterator[CanonicalRow | BadRecord]:
    """Convert rows of an input: as `canonical_rows`, but a lone surrogate in what is read is an error.

    Stores of earlier versions may hold rows with one.
    """
    labels: dict[str, Sequence[Any]] = {}
    if chunk.rows is not None:  # texts of columnar files are UTF-8
        names = [layout.columns[role] for role in _LABELS if role in layout.columns]
        labels = {name: chunk.values(name) for name in names}
    unsaid = _unsaid(chunk, layout)
    for row in canonical_rows(chunk, layout):
        if isinstance(row, CanonicalRow):
            if row.at in unsaid:
                yield BadRecord(chunk.positions[row.at], chunk.place(row.at), unsaid[row.at])
            else:
                yield _surrogate(chunk, layout, row, labels) or row
        else:
            yield row


def _unsaid(chunk: Chunk, layout: Layout) -> dict[int, str]:
    """Return the rows in which only a column that is not read says something in a role, each with why."""
    unsaid = {}
    for role, others in layout.rivals.items():
        bound = layout.columns[role]
        read = _optional(chunk, layout, role) or [None] * len(chunk)
        for other in others:
            cells = chunk.values(other) if other in chunk.names() else ()
            for at, (cell, said) in enumerate(zip(cells, read, strict=False)):
                if is_filled(cell) and not is_filled(said):
                    unsaid[at] = (
                        f"column {other!r} is filled, but {role} is read from column {bound!r}, which is "
                        f"empty here; put both into one column, or say which is read: --column {role}={bound}"
                    )
    return unsaid


def _surrogate(
    chunk: Chunk, layout: Layout, row: CanonicalRow, labels: Mapping[str, Sequence[Any]]
) -> BadRecord | None:
    """Return the bad record of a row with a lone surrogate in its example or ``labels``, else None."""
    at, tools = row.at, row.identity.tools
    may_have = _ESCAPE in row.identity.messages or (tools is not None and _ESCAPE in tools)
    if not may_have and not labels:  # nearly every row
        return None
    half = (lone_surrogate(row.messages) or lone_surrogate(row.tools)) if may_have else ""
    if half:
        held = {name: _optional(chunk, layout, role) for role, name in layout.columns.items()}
        cells = {name: _parsed(values[at]) for name, values in held.items() if values is not None}
    else:
        cells = {name: values[at] for name, values in labels.items()}
    column = next((name for name, cell in cells.items() if lone_surrogate(cell)), None)
    half = half or lone_surrogate(cells.get(column or ""))
    if not half:
        return None
    where = f"column {column!r}" if column is not None else "the row"
    reason = f"{where} has {WHAT} ({half}), which is no character and not text in UTF-8"
    return BadRecord(chunk.positions[at], chunk.place(at), reason)


def _parsed(cell: Any) -> Any:
    """Return a cell with what its texts hold as JSON."""
    if isinstance(cell, list):
        return [_parsed(item) for item in cell]
    return [cell, object_of(cell)] if isinstance(cell, str) else cell


def canonicalise(chunk: Chunk, layout: Layout) -> Canonical:
    """Convert every row to an example and hash it; rows that cannot be converted become bad records."""
    result = Canonical()
    system = _optional(chunk, layout, "system")
    for row in new_rows(chunk, layout):
        if isinstance(row, BadRecord):
            result.bad.append(row)
            continue
        at, listed, _, (example_id, group_id, messages, tools), input_at = row
        texts = [text_of(message) for message in listed]
        if system is not None and system[at] and _differs(system[at], listed[0], texts[0]):
            result.own_system.append(at)
        result.kept.append(at)
        result.ids.append(example_id)
        result.groups.append(group_id)
        result.messages.append(messages)
        result.tools.append(tools)
        result.prompts.append(history_text(listed[:-1], texts))
        result.responses.append(texts[-1])
        result.n_chars.append(sum(map(len, texts)))
        result.input_at.append(input_at)
    return result


def _differs(column: Any, first: Message, text: str) -> bool:
    return bool(first["role"] == "system" and column != text)


def example_batch(
    chunk: Chunk, layout: Layout, converted: Canonical, source: str | None, label: str
) -> pa.RecordBatch:
    """Return the usable rows in the columns of `EXAMPLE_SCHEMA`.

    ``source`` overrides the source of every row; ``label`` is used where a row names none. Bytes of a
    file's name that are not UTF-8 become U+FFFD in it.
    """
    kept = converted.kept
    groups = converted.groups
    if "group_id" in layout.columns:
        groups = [column_group_id(value) for value in _common(chunk, layout, "group_id", kept)]
    columns: list[Sequence[Any]] = [
        [chunk.positions[i] for i in kept], converted.ids, groups,
        _external_ids(chunk, layout, kept), _sources(chunk, layout, kept, source, label),
        converted.messages, converted.tools, converted.prompts, converted.responses,
        converted.n_chars, converted.input_at,
    ]  # fmt: skip
    arrays = [_array(values, f.type) for values, f in zip(columns, EXAMPLE_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=EXAMPLE_SCHEMA)


def _external_ids(chunk: Chunk, layout: Layout, kept: Sequence[int]) -> list[str | None]:
    values = _common(chunk, layout, "id", kept)
    return [None if value is None else str(value) for value in values]


def _sources(
    chunk: Chunk, layout: Layout, kept: Sequence[int], source: str | None, label: str
) -> list[str]:
    if source is not None:
        return [source] * len(kept)
    named = _common(chunk, layout, "source", kept)
    return [value if isinstance(value, str) else label for value in named]


def _common(chunk: Chunk, layout: Layout, role: str, kept: Sequence[int]) -> list[Any]:
    column = layout.columns.get(role)
    if column is None:
        return [None] * len(kept)
    values = chunk.values(column)
    return values if len(kept) == len(values) else [values[i] for i in kept]


def _array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, type_)
    except UnicodeEncodeError:
        return pa.array([replaced(value) for value in values], type_)
