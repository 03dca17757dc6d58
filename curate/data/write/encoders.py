"""Converts stored input rows to output rows: unchanged where the container allows it."""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, final

import pyarrow as pa

from curate.contracts.json_values import json_text
from curate.data.read.containers.arrow_readers import schema_of, unstorable
from curate.data.write.outputs import arrow_column, csv_line
from curate.data.write.texts import (
    FormattedTexts,
    Texts,
    column_texts,
    csv_texts,
    json_texts,
)
from curate.data.write.whole_texts import WholeTexts
from curate.errors import DataError

if TYPE_CHECKING:
    from curate.store import Dataset

NOTES: Final = pa.schema(
    [
        ("curate_id", pa.string()), ("curate_rank", pa.int64()), ("curate_gain", pa.float64()),
        ("curate_weight", pa.float64()), ("curate_reason", pa.string()),
    ]
)  # fmt: skip
_COLUMNAR: Final = ("parquet", "arrow", "folder")


class Encoder(ABC):
    """Turns input rows into rows of the output.

    ``payload`` says what `encode` returns: a ``record`` column of JSON objects or of CSV records,
    or the columns themselves. ``header`` goes in front of the records. ``columns`` and, for a
    columnar output, ``schema`` are known after `finish`.
    """

    payload: ClassVar[Literal["json", "csv", "columns"]]
    header: bytes
    schema: pa.Schema
    columns: tuple[str, ...]

    @abstractmethod
    def encode(
        self, dataset: "Dataset", positions: Sequence[int], raw: pa.Table, notes: pa.Table
    ) -> pa.Table:
        """Encode rows of one dataset; ``notes`` are their rows of the selection."""

    @abstractmethod
    def finish(self, n_rows: int) -> None:
        """Raise `DataError` if some rows could not be encoded."""


def encoder_for(
    datasets: "Sequence[Dataset]",
    texts: FormattedTexts | None,
    container: str,
    notes: Sequence[str],
    whole: WholeTexts,
) -> Encoder:
    """Choose the encoder of rows in a format, or, without ``texts``, of rows as they were.

    ``notes`` names the columns of `NOTES` to append; ``whole`` looks at rows that pass through JSON. Raises `DataError` when rows as they were
    belong to datasets of different columns.
    """
    shape = _Shape(container, notes)
    annotate = bool(notes)
    if texts is not None:
        return JsonEncoder(texts, shape, whole)
    family = _common_family(datasets)
    if family == "columns":
        schema = schema_of(datasets[0].extra["schema"])
        if container in _COLUMNAR:
            return ColumnsEncoder(schema, annotate=annotate)
        return JsonEncoder(column_texts, shape, whole)
    if family == "csv":
        if container == "csv":
            return CsvEncoder(datasets[0].extra["csv"], annotate=annotate)
        return JsonEncoder(csv_texts, shape, whole)
    return JsonEncoder(partial(json_texts, container), shape, whole)


def unlike(datasets: "Sequence[Dataset]") -> "tuple[Dataset, Dataset] | None":
    """Return two datasets whose rows cannot share a file as they are, or None."""
    first = datasets[0]
    shape = _input_shape(first)
    return next(((first, other) for other in datasets[1:] if _input_shape(other) != shape), None)


def _common_family(datasets: "Sequence[Dataset]") -> str:
    differing = unlike(datasets)
    if differing is not None:
        first, other = differing
        raise DataError(
            f"the selection spans datasets with different columns ({first.name} and "
            f"{other.name}), which cannot share a file unchanged; use --to messages"
        )
    return _input_shape(datasets[0])[0]


def _input_shape(dataset: "Dataset") -> tuple[str, object]:
    if dataset.container in ("jsonl", "json"):
        return "json", (dataset.format, dict(dataset.columns))
    if dataset.container == "csv":
        dialect = dataset.extra["csv"]
        return "csv", (dialect["delimiter"], dialect["header"].rstrip("\r"))
    return "columns", schema_of(dataset.extra["schema"])


def _note_table(notes: pa.Table) -> pa.Table:
    names = [name.removeprefix("curate_") for name in NOTES.names]
    arrays = [notes[name].cast(f.type) for name, f in zip(names, NOTES, strict=True)]
    return pa.Table.from_arrays(arrays, schema=NOTES)


@final
class ColumnsEncoder(Encoder):
    """Columnar to columnar: the same Arrow columns, metadata included."""

    payload = "columns"
    header = b""

    def __init__(self, schema: pa.Schema, *, annotate: bool) -> None:
        self._annotate = annotate
        self._kept = schema.names
        self.schema = schema
        if annotate:
            self._kept = [name for name in schema.names if name not in NOTES.names]
            fields = [*(schema.field(name) for name in self._kept), *NOTES]
            self.schema = pa.schema(fields, metadata=schema.metadata)
        self.columns = tuple(self.schema.names)

    def encode(
        self, dataset: "Dataset", positions: Sequence[int], raw: pa.Table, notes: pa.Table
    ) -> pa.Table:
        """Return the columns, followed by those of the notes."""
        columns = [raw[name] for name in self._kept] if self._annotate else list(raw.columns)
        if self._annotate:
            columns += _note_table(notes).columns
        casted = [c.cast(f.type) for c, f in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(casted, schema=self.schema)

    def finish(self, n_rows: int) -> None:
        """Do nothing: any row can be encoded."""


@final
class CsvEncoder(Encoder):
    """CSV to CSV: header and records as they were, notes as further fields."""

    payload = "csv"

    def __init__(self, dialect: Mapping[str, str], *, annotate: bool) -> None:
        self._annotate = annotate
        self._delimiter = dialect["delimiter"]
        header = dialect["header"]
        names = next(csv.reader([header], delimiter=self._delimiter))
        if annotate:
            taken = [name for name in names if name in NOTES.names]
            if taken:
                raise DataError(f"the input already has a column {taken[0]!r}; rename it")
            names += NOTES.names
            header = self._append(header.encode(), NOTES.names).decode()
        self.header = f"{header}\n".encode()
        self.columns = tuple(names)
        self.schema = pa.schema([(name, pa.string()) for name in names])

    def _append(self, record: bytes, values: Sequence[Any]) -> bytes:
        end = b"\r" if record.endswith(b"\r") else b""
        more = csv_line(values, self._delimiter, end="")
        return record.removesuffix(b"\r") + self._delimiter.encode() + more + end

    def encode(
        self, dataset: "Dataset", positions: Sequence[int], raw: pa.Table, notes: pa.Table
    ) -> pa.Table:
        """Return the exact records, followed by the notes' fields."""
        if not self._annotate:
            return raw
        rows = [list(note.values()) for note in _note_table(notes).to_pylist()]
        records = raw["record"].to_pylist()
        return _records([self._append(r, row) for r, row in zip(records, rows, strict=True)])

    def finish(self, n_rows: int) -> None:
        """Do nothing: any row can be encoded."""


@final
class JsonEncoder(Encoder):
    """Anything as JSON objects: as the output itself, or on the way to CSV or Arrow columns."""

    payload = "json"
    header = b""

    def __init__(self, texts: "Texts | FormattedTexts", shape: "_Shape", whole: WholeTexts) -> None:
        self._texts = texts
        self._shape = shape
        self._whole = whole

    def encode(
        self, dataset: "Dataset", positions: Sequence[int], raw: pa.Table, notes: pa.Table
    ) -> pa.Table:
        """Return JSON objects, the notes as further keys."""
        texts = self._texts(dataset, positions, raw)
        texts = self._whole.of(dataset, positions, notes["id"].to_pylist(), texts)
        if self._shape.notes:
            rows = _note_table(notes).select(self._shape.notes).to_pylist()
            texts = [annotated(text, row) for text, row in zip(texts, rows, strict=True)]
        self._shape.see(texts)
        return _records(texts)

    def finish(self, n_rows: int) -> None:
        """Raise for rows the dialect or the container cannot hold; settle the columns."""
        if isinstance(self._texts, FormattedTexts):
            self._texts.check(n_rows)
        self._whole.check(n_rows)
        self._shape.check()
        self.columns = self._shape.names
        self.schema = self._shape.schema


@final
class _Shape:
    """Column names, and for a columnar output their types, over all rows seen."""

    def __init__(self, container: str, notes: Sequence[str]) -> None:
        self.notes = list(notes)
        self._needs_names = container == "csv"
        self._needs_types = container in _COLUMNAR
        self._is_parquet = container in ("parquet", "folder")
        self._seen: dict[str, None] = {}
        self.schema = pa.schema([])

    @property
    def names(self) -> tuple[str, ...]:
        """Columns in order of first appearance, the notes last."""
        notes = [name for name in NOTES.names if name in self._seen]
        return (*(name for name in self._seen if name not in NOTES.names), *notes)

    def see(self, texts: Sequence[bytes]) -> None:
        """Register more rows; beyond the first rows only if the output needs it."""
        if self._seen and not (self._needs_names or self._needs_types):
            return
        rows = [json.loads(text) for text in texts]
        self._seen.update(dict.fromkeys(name for row in rows for name in row))
        if not self._needs_types:
            return
        arrays = {name: arrow_column(rows, name) for name in self.names}
        schema = pa.schema([(name, array.type) for name, array in arrays.items()])
        try:
            merged = pa.unify_schemas([self.schema, schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(f"the rows mix types in one column ({error}); write .jsonl") from None
        self.schema = pa.schema([merged.field(name) for name in self.names])

    def check(self) -> None:
        """Raise `DataError` for a column that Parquet cannot hold, such as one of empty objects."""
        if not self._is_parquet or unstorable(self.schema) is None:
            return
        for field in self.schema:
            if (error := unstorable(pa.schema([field]))) is not None:
                raise DataError(
                    f"column {field.name!r} of type {field.type} cannot be a Parquet column ({error}); "
                    "write .jsonl"
                )


def _records(texts: Sequence[bytes]) -> pa.Table:
    return pa.table({"record": pa.array(texts, pa.large_binary())})


def annotated(text: bytes, notes: Mapping[str, Any]) -> bytes:
    """Append keys to the text of a JSON object, replacing keys of the same name."""
    if b'"curate_' in text:
        row = json.loads(text)
        if any(name in row for name in notes):
            kept = {name: value for name, value in row.items() if name not in notes}
            text = json_text(kept)
    end = text.rindex(b"}")
    before = text[:end]
    comma = b"" if before.rstrip().endswith(b"{") else b", "
    return before + comma + json_text(notes)[1:-1] + text[end:]
