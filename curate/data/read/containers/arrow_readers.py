"""Columnar containers, streamed: Parquet, Arrow IPC, ``save_to_disk`` folders, hub datasets."""

import base64
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.read.containers.foreign import N_BYTES, foreign
from curate.data.read.containers.not_utf8 import not_utf8_rows
from curate.data.read.containers.plain_types import without_views
from curate.data.read.containers.text_readers import open_bytes
from curate.data.read.records import MAX_BYTES, MAX_ROWS, BadRecord, Chunk
from curate.errors import DataError

_UNREADABLE: Final = (pa.ArrowException, UnicodeDecodeError, OSError)
_TOO_LARGE: Final = (
    "{} holds a {} larger than the memory here, or is damaged; write it again in smaller {}"
)


def parquet_schema(path: Path, compression: str) -> pa.Schema:
    """Return the Arrow schema of a Parquet file, metadata included."""
    with _parquet(path, compression) as file:
        return without_views(file.schema_arrow)


def read_parquet(path: Path, compression: str, position: int, schema: pa.Schema) -> Iterator[Chunk]:
    """Stream a Parquet file in chunks sized by its average row."""
    with _parquet(path, compression) as file:
        n_bytes = sum(
            file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)
        )
        per_row = n_bytes / max(file.metadata.num_rows, 1)
        size = int(min(MAX_ROWS, max(1, MAX_BYTES / max(per_row, 1))))
        yield from _chunks(file.iter_batches(batch_size=size), path, position, schema)


def arrow_schema(path: Path, compression: str) -> pa.Schema:
    """Return the schema of an Arrow IPC file or stream, metadata included."""
    with _arrow(path, compression) as (schema, _):
        return without_views(schema)


def read_arrow(path: Path, compression: str, position: int, schema: pa.Schema) -> Iterator[Chunk]:
    """Stream an Arrow IPC file or stream."""
    with _arrow(path, compression) as (_, batches):
        yield from _chunks(batches, path, position, schema)


def disk_files(folder: Path) -> list[Path]:
    """List the Arrow files of a dataset saved by ``save_to_disk``, in row order."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return [folder / entry["filename"] for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read the saved dataset {folder}: its state.json is unusable ({error}); "
            "save it again with save_to_disk"
        ) from None


def read_loaded(dataset: Any, name: str, schema: pa.Schema) -> Iterator[Chunk]:
    """Stream a dataset that the ``datasets`` library has loaded."""
    batches = (
        batch
        for table in dataset.with_format("arrow").iter(batch_size=MAX_ROWS)
        for batch in table.to_batches()
    )
    try:
        yield from _chunks(batches, name, 0, schema)
    except pa.ArrowException as error:
        raise DataError(f"{name} is damaged: {error}; load it again") from None


def schema_text(schema: pa.Schema) -> str:
    """Return a schema, including metadata, as text that `schema_of` reads."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def schema_of(text: str) -> pa.Schema:
    """Return the schema that `schema_text` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def check_storable(schema: pa.Schema, path: object) -> None:
    """Raise `DataError` for a column whose type Parquet, which keeps the raw rows, cannot hold."""
    if unstorable(schema) is None:
        return
    for field in schema:
        error = unstorable(pa.schema([field]))
        if error is not None:
            raise DataError(
                f"{path}: column {field.name!r} of type {field.type} cannot be kept ({error}); "
                "cast or drop the column"
            ) from None


def unstorable(schema: pa.Schema) -> Exception | None:
    """Return why Parquet cannot hold a schema, None if it can."""
    try:
        pq.ParquetWriter(io.BytesIO(), schema).close()
    except (pa.ArrowException, OSError) as error:  # OSError: a name that Thrift does not take
        return error
    return None


def _chunks(
    batches: Iterator[pa.RecordBatch], path: object, position: int, schema: pa.Schema
) -> Iterator[Chunk]:
    number = 0
    for whole in batches:
        bad = not_utf8_rows(whole)
        per_row = whole.nbytes / max(whole.num_rows, 1)
        size = int(min(MAX_ROWS, max(1, MAX_BYTES / max(per_row, 1))))
        for start in range(0, whole.num_rows, size):
            part = whole.slice(start, size)
            rows = range(start, start + part.num_rows)
            yield _chunk(part, rows, bad, str(path), position + number, number + 1, schema)
            number += part.num_rows


def _chunk(
    part: pa.RecordBatch,
    rows: range,
    bad: Mapping[int, str],
    path: str,
    position: int,
    number: int,
    schema: pa.Schema,
) -> Chunk:
    """Return the rows of a part that can be read; ``bad`` are those of the batch that cannot."""
    n = len(rows)
    kept = [i for i, row in enumerate(rows) if row not in bad] if bad else rows
    if len(kept) == n:
        places = range(position, position + n), range(number, number + n)
        return Chunk(path, "row", *places, _aligned(part, schema, path))
    return Chunk(
        path,
        "row",
        [position + i for i in kept],
        [number + i for i in kept],
        _aligned(part.take(pa.array(kept, pa.int64())), schema, path),
        bad=[
            BadRecord(position + i, f"{path} row {number + i}", bad[row])
            for i, row in enumerate(rows)
            if row in bad
        ],
    )


def _aligned(part: pa.RecordBatch, schema: pa.Schema, path: str) -> pa.RecordBatch:
    """Return rows in the columns of a whole dataset; those that their own file lacks are null.

    Raises `DataError` for a value that the type of other files cannot hold.
    """
    if part.schema.names == schema.names and part.schema.types == schema.types:
        return pa.RecordBatch.from_arrays(part.columns, schema=schema)
    own = set(part.schema.names)
    arrays = [
        _cast(part.column(field.name), field, path)
        if field.name in own
        else pa.nulls(part.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(column: pa.Array, field: pa.Field, path: str) -> pa.Array:
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: column {field.name!r} of type {column.type} has a value that {field.type}, its type "
            f"beside other files, cannot hold ({error}); ingest the files separately"
        ) from error


@contextmanager
def _seekable(path: Path, compression: str) -> Iterator[Any]:
    if not compression:
        with open_bytes(path, "") as file:
            yield file
        return
    with tempfile.TemporaryFile() as copy:
        with open_bytes(path, compression) as stream:
            while block := stream.read(1 << 20):
                copy.write(block)
        copy.seek(0)
        yield copy


@contextmanager
def _parquet(path: Path, compression: str) -> Iterator[pq.ParquetFile]:
    with _seekable(path, compression) as file:
        try:
            with pq.ParquetFile(file) as parquet:
                _check_names(parquet.schema_arrow)
                yield parquet
        except _UNREADABLE as error:
            words = _foreign(file, path, b"PAR1")
            raise DataError(words or f"{path} is not a readable Parquet file: {error}") from None
        except MemoryError:
            raise DataError(_TOO_LARGE.format(path, "row group", "row groups")) from None


@contextmanager
def _arrow(path: Path, compression: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    with _seekable(path, compression) as file:
        try:
            if file.read(6) == b"ARROW1":
                file.seek(0)
                reader = pa.ipc.open_file(file)
                _check_names(reader.schema)
                yield reader.schema, map(reader.get_batch, range(reader.num_record_batches))
            else:
                file.seek(0)
                stream = pa.ipc.open_stream(file)
                _check_names(stream.schema)
                yield stream.schema, iter(stream)
        except _UNREADABLE as error:
            words = _foreign(file, path, b"ARROW1")
            raise DataError(words or f"{path} is not a readable Arrow file: {error}") from None
        except MemoryError:
            raise DataError(_TOO_LARGE.format(path, "batch", "batches")) from None


def _foreign(file: Any, path: Path, own: bytes) -> str:
    try:
        file.seek(0)
        return foreign(path, file.read(N_BYTES), own)
    except (OSError, ValueError):  # of a file that cannot be read, or was closed
        return ""


def _check_names(fields: Iterable[pa.Field]) -> None:
    """Raise `UnicodeDecodeError` for a name that is not text, at any depth."""
    for field in fields:
        _ = field.name
        kind = field.type
        while isinstance(kind, (pa.BaseExtensionType, pa.DictionaryType)):
            kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind.storage_type
        _check_names(kind.field(i) for i in range(kind.num_fields))
