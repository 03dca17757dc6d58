"""Converts stored input rows of any container to JSON texts, one object per row."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

import pyarrow as pa

from curate.contracts.json_values import json_text
from curate.data.json_columns import holds_json, said_by
from curate.data.messages import RowError
from curate.data.read.canonical import CanonicalRow, canonical_rows
from curate.data.read.containers.text_readers import parse_object
from curate.data.read.records import BadRecord, Chunk
from curate.data.read.stored_layout import layout_of
from curate.data.revisions import Revisions, revised_messages
from curate.data.write.row_formats import N_NAMED, REJECTED, RowFormat, Tally
from curate.errors import DataError, StoreError
from curate.store.pool.raw import csv_fields
from curate.store.pool.values import NO_ROOM

if TYPE_CHECKING:
    from curate.store import Dataset

Texts = Callable[["Dataset", Sequence[int], pa.Table], list[bytes]]


def json_texts(
    container: str, dataset: "Dataset", positions: Sequence[int], raw: pa.Table
) -> list[bytes]:
    """Return JSON records as they were; on one line each, and without line ends in an array."""
    del positions
    records: list[bytes] = raw["record"].to_pylist()
    if container == "jsonl":
        if dataset.container == "jsonl":
            return records
        # line breaks in valid JSON stand between tokens only
        return [r.strip().replace(b"\r", b" ").replace(b"\n", b" ") for r in records]
    return [record.strip() for record in records]


def csv_texts(dataset: "Dataset", positions: Sequence[int], raw: pa.Table) -> list[bytes]:
    """Return CSV records as JSON objects of texts."""
    del positions
    return [json_text(row) for row in csv_rows(dataset, raw)]


def csv_rows(dataset: "Dataset", raw: pa.Table) -> list[dict[str, str]]:
    """Return CSV records as dictionaries of texts, by the names of the header."""
    dialect = dataset.extra["csv"]
    delimiter = dialect["delimiter"]
    names = csv_fields(dialect["header"], delimiter)
    records = raw["record"].to_pylist()
    return [
        dict(zip(names, csv_fields(record.decode(), delimiter), strict=True)) for record in records
    ]


def column_texts(dataset: "Dataset", positions: Sequence[int], raw: pa.Table) -> list[bytes]:
    """Return columnar rows as JSON objects: same order, nested nulls kept, dates in ISO 8601."""
    del positions
    names = raw.schema.names
    columns = [_python_values(dataset, name, raw[name]) for name in names]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    try:
        return [json_text(row) for row in rows]
    except TypeError:
        for name, values in zip(names, columns, strict=True):
            _check_json(dataset, name, raw.schema.field(name).type, values)
        raise


def _python_values(dataset: "Dataset", name: str, column: pa.ChunkedArray) -> list[Any]:
    try:
        values = _with_maps(column)
    except NO_ROOM as error:
        raise DataError(
            f"{dataset.name}: column {name!r} of type {column.type} cannot be written as JSON "
            f"({error}); write .parquet or .arrow"
        ) from None
    if holds_json(column.type):
        values = [said_by(name, value, column.type) for value in values]
    return values


def _with_maps(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; maps become dictionaries, or lists of pairs where a key comes twice."""
    try:
        return list(column.to_pylist(maps_as_pydicts="strict"))
    except NO_ROOM:
        return list(column.to_pylist())


def _check_json(dataset: "Dataset", name: str, type_: pa.DataType, values: Sequence[Any]) -> None:
    try:
        for value in values:
            json_text(value)
    except TypeError as error:
        raise DataError(
            f"{dataset.name}: column {name!r} of type {type_} cannot be written as JSON ({error}); "
            "write .parquet or .arrow"
        ) from None


@final
class FormattedTexts:
    """Input rows as JSON objects of a row format, by way of canonical messages.

    Parameters
    ----------
    layout
        The format.
    lossy
        Whether to leave out what the format cannot hold; otherwise `check` raises.
    lost, remarks
        Where to count what was left out, and the format's remarks.
    revisions
        Responses that replace those of examples.
    """

    def __init__(
        self,
        layout: RowFormat,
        *,
        lossy: bool,
        lost: Tally,
        remarks: Tally,
        revisions: Revisions | None = None,
    ) -> None:
        self._layout = layout
        self._revisions = revisions or {}
        self._lossy = lossy
        self._lost = lost
        self._remarks = remarks
        self._refused: list[str] = []
        self._n_refused = 0
        self._n_pairs = 0

    def __call__(self, dataset: "Dataset", positions: Sequence[int], raw: pa.Table) -> list[bytes]:
        """Convert rows; those the format cannot hold are counted and become empty objects."""
        rows: list[dict[str, Any]] | None = None
        if dataset.container == "csv":
            rows = list(csv_rows(dataset, raw))
        elif dataset.container in ("json", "jsonl"):
            rows = [parse_object(record) for record in raw["record"].to_pylist()]
        batch = raw.combine_chunks().to_batches()[0]
        numbers = [position + 1 for position in positions]
        chunk = Chunk(dataset.name, "row", positions, numbers, batch, rows)
        texts = []
        for row in canonical_rows(chunk, layout_of(dataset)):
            if isinstance(row, BadRecord):
                raise StoreError(
                    f"{row.place} is damaged in the store: {row.reason}; ingest it again"
                )
            try:
                texts.append(json_text(self._converted(row, dataset.format == "preference")))
            except RowError as error:
                self._n_refused += 1
                if len(self._refused) < N_NAMED:
                    self._refused.append(f"{row.identity.id} has {error}")
                texts.append(b"{}")
        return texts

    def _converted(self, row: CanonicalRow, is_pair: bool) -> dict[str, Any]:
        messages, tools = row.messages, row.tools
        if row.identity.id in self._revisions:
            messages = revised_messages(messages, self._revisions[row.identity.id].response)
        if is_pair and not self._lossy:
            self._n_pairs += 1
            raise RowError(REJECTED)
        if self._lossy:
            kept, left, lost = self._layout.reduce(messages, tools)
            for what in dict.fromkeys([*([REJECTED] if is_pair else []), *lost]):
                self._lost.add(row.identity.id, what)
            converted = self._layout.convert(kept, left)
        else:
            converted = self._layout.convert(messages, tools)
        remark = self._layout.remark(messages)
        if remark is not None:
            self._remarks.add(row.identity.id, remark)
        return converted

    def check(self, n_rows: int) -> None:
        """Raise `DataError` if the format cannot hold some row."""
        if self._n_refused:
            more = ", ..." if self._n_refused > len(self._refused) else ""
            held_by = "input" if self._n_pairs and self._layout.held_by else self._layout.held_by
            instead = f"use --to {held_by}, or " if held_by else "use "
            todo = f"{instead}--lossy to write what fits"
            if self._lossy:
                todo = "not even --lossy helps; leave them out with --exclude when you select"
            raise DataError(
                f"{self._n_refused} of {n_rows} rows cannot be written as {self._layout.name} "
                f"({', '.join(self._refused)}{more}); {todo}"
            )
