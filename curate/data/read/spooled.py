"""Rows that are in no file: in memory, from an iterator, on standard input; spooled to be read as one."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import pyarrow as pa

from curate.contracts.json_values import json_text
from curate.data.read.given import STDIN, Data, InMemory
from curate.data.read.sources import Container, Source, hash_files, resolve
from curate.errors import ConfigError, CurateError, DataError
from curate.store import locks
from curate.store.parts import LOCK, TMP_MARK, owner

_BATCH_ROWS: Final = 8_192
_STARTS: Final[tuple[tuple[bytes, str, Container], ...]] = (
    (b"PAR1", ".parquet", "parquet"),
    (b"ARROW1", ".arrow", "arrow"),
    (b"\x1f\x8b", ".jsonl.gz", "jsonl"),
    (b"\x28\xb5\x2f\xfd", ".jsonl.zst", "jsonl"),
)


@contextmanager
def found(data: Data, split: str, folder: Path) -> Iterator[Source]:
    """Find what DATA names, as `resolve` does; rows in memory and standard input are spooled first.

    Parameters
    ----------
    folder
        Where the spooled file lies while it is read.

    Raises what `resolve` raises, and `DataError` for rows that cannot be kept, by their number.
    """
    if isinstance(data, str) and data != STDIN:
        yield resolve(data, split)
        return
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f".spooled{TMP_MARK}{owner()}-"  # which gc collects where nobody holds the lock inside
    with TemporaryDirectory(dir=folder, prefix=prefix) as place, locks.held(Path(place) / LOCK):
        if isinstance(data, InMemory):
            name, label = "memory", "memory"
            path, container = _spool(data.rows, Path(place))
        else:
            name, label = "standard input", "stdin"
            path, container = _spool_input(sys.stdin.buffer, Path(place))
        try:
            hashed = hash_files([path])
            yield Source(name, label, container, (path,), hashed, split, is_spooled=True)
        except DataError as error:
            raise DataError(str(error).replace(str(path), name)) from error


def _spool(rows: Any, folder: Path) -> tuple[Path, Container]:
    path = folder / "rows.arrow"
    try:
        batches = batches_of(rows)
        if batches is not None:
            schema, tables = batches
            with pa.ipc.new_file(path, schema) as writer:
                for batch in tables:
                    writer.write_batch(batch)
            return path, "arrow"
    except CurateError:
        raise
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"memory cannot be kept as an Arrow table: {str(error).splitlines()[0]}; give every column one "
            "name and values of one type"
        ) from error
    path = folder / "rows.jsonl"
    with path.open("wb") as file:
        for number, row in enumerate(rows, start=1):
            if not isinstance(row, Mapping):
                raise DataError(
                    f"memory row {number} is {type(row).__name__}, not a dict of columns; give a list of "
                    "dicts such as {'prompt': ..., 'response': ...}"
                )
            try:
                file.write(json_text(dict(row)) + b"\n")
            except (TypeError, ValueError, RecursionError) as error:
                raise DataError(
                    f"memory row {number} cannot be written as JSON: {error}; make its values text, "
                    "numbers, lists and dicts"
                ) from None
    return path, "jsonl"


def batches_of(rows: Any) -> tuple[pa.Schema, Iterable[pa.RecordBatch]] | None:
    """Return a table as Arrow batches of equal size, or None for what is no table."""
    library = type(rows).__module__.partition(".")[0]
    if library == "datasets":
        return _of_datasets(rows)
    if library == "polars":
        import polars as pl

        frame = rows.collect() if isinstance(rows, pl.LazyFrame) else rows
        if isinstance(frame, pl.Series):
            frame = frame.to_frame()
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    elif library == "pandas":
        frame = rows if hasattr(rows, "columns") else rows.to_frame()
        table = pa.Table.from_pandas(frame, preserve_index=False)
    elif isinstance(rows, pa.RecordBatch):
        table = pa.Table.from_batches([rows])
    elif isinstance(rows, pa.RecordBatchReader):
        schema = _plain(rows.schema)
        return schema, (batch.replace_schema_metadata(None).cast(schema) for batch in rows)
    elif hasattr(rows, "__arrow_c_stream__"):
        table = pa.table(rows)
    else:
        return None
    table = table.replace_schema_metadata(None).combine_chunks()
    return table.schema, table.to_batches(max_chunksize=_BATCH_ROWS)


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return a schema without dictionaries, which may differ from batch to batch, and metadata."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(fields)


def _of_datasets(rows: Any) -> tuple[pa.Schema, Iterable[pa.RecordBatch]] | None:
    from datasets import Dataset, IterableDataset

    if isinstance(rows, IterableDataset):
        return None
    if not isinstance(rows, Dataset):
        raise ConfigError(
            f"data is a {type(rows).__name__} of the splits {', '.join(map(str, rows))}; give one of "
            "them, as in data['train']"
        )
    formatted = rows.with_format("arrow")
    schema = formatted.features.arrow_schema.remove_metadata()
    return schema, (
        batch
        for table in formatted.iter(batch_size=_BATCH_ROWS)
        for batch in table.replace_schema_metadata(None).cast(schema).combine_chunks().to_batches()
    )


def _spool_input(stream: BinaryIO, folder: Path) -> tuple[Path, Container]:
    """Copy standard input to a file whose name says what it holds, by its first bytes."""
    if stream.isatty():
        raise ConfigError("- reads standard input, which is a terminal; pipe rows into the command")
    copied = folder / "rows"
    with copied.open("wb") as file:
        shutil.copyfileobj(stream, file, 1 << 20)
    with copied.open("rb") as file:
        start = file.read(1 << 16)
    suffix, container = _container(start)
    path = copied.with_suffix(suffix)
    copied.rename(path)
    return path, container


def _container(start: bytes) -> tuple[str, Container]:
    for magic, suffix, container in _STARTS:
        if start.startswith(magic):
            return suffix, container
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return ".json", "json"
    if text.startswith(b"{") or not text:
        return ".jsonl", "jsonl"
    return ".csv", "csv"
