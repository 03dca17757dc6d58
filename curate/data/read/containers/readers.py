"""One interface to read any source: its raw schema, what an export needs to know, its chunks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from curate.data.read.containers.arrow_readers import (
    arrow_schema,
    check_storable,
    parquet_schema,
    read_arrow,
    read_loaded,
    read_parquet,
    schema_text,
)
from curate.data.read.containers.foreign import refuse_foreign
from curate.data.read.containers.plain_types import without_encodings, without_views
from curate.data.read.containers.text_readers import csv_header, read_csv, read_json, read_jsonl
from curate.data.read.records import TEXT_SCHEMA, Chunk, repeated
from curate.data.read.sources import Source, compression_of
from curate.errors import DataError

_TEXT_READERS: Final = {"jsonl": read_jsonl, "json": read_json, "csv": read_csv}
_ARROW_SCHEMAS: Final = {"parquet": parquet_schema, "arrow": arrow_schema, "disk": arrow_schema}
_ARROW_READERS: Final = {"parquet": read_parquet, "arrow": read_arrow, "disk": read_arrow}


@final
@dataclass(frozen=True, slots=True)
class Reader:
    """An opened source.

    Parameters
    ----------
    schema
        Arrow schema of the raw records: one binary column ``record`` for text containers, the
        input's own for columnar ones.
    extra
        What an export needs to write the same container again: dialect and header of a CSV file
        (``csv``), the Arrow schema of a columnar one (``schema``, as text).
    """

    source: Source
    schema: pa.Schema
    extra: Mapping[str, Any] = field(default_factory=dict)

    def chunks(self) -> Iterator[Chunk]:
        """Stream all records in order, file after file; memory is that of one chunk."""
        if self.source.loaded is not None:
            yield from read_loaded(self.source.loaded, self.source.name, self.schema)
            return
        position = 0
        for path in self.source.files:
            compression = compression_of(path)
            if self.source.container in _TEXT_READERS:
                chunks = _TEXT_READERS[self.source.container](path, compression, position)
            else:
                read = _ARROW_READERS[self.source.container]
                chunks = read(path, compression, position, self.schema)
            for chunk in chunks:
                position += chunk.n_read
                yield self._named(chunk, path) if self.source.is_spooled else chunk

    def _named(self, chunk: Chunk, path: Path) -> Chunk:
        """Return a chunk of a spooled file with the name of what was given in place of the file's."""
        name = self.source.name
        bad = [replace(record, place=record.place.replace(str(path), name)) for record in chunk.bad]
        return replace(chunk, path=name, bad=bad)


def open_reader(source: Source) -> Reader:
    """Inspect the start of every file and prepare to read them all.

    Raises `DataError` for a file that is not what its name says, for files of one dataset whose
    columns differ, and for column types that cannot be kept.
    """
    if source.loaded is not None:
        schema = without_views(source.loaded.with_format("arrow").data.schema)
        check_storable(schema, source.name)
        return Reader(source, schema, {"schema": schema_text(schema)})
    if source.container in _TEXT_READERS:
        for file in source.files:
            refuse_foreign(file, compression_of(file))
    if source.container == "csv":
        return Reader(source, TEXT_SCHEMA, {"csv": _common_header(source)})
    if source.container in _TEXT_READERS:
        return Reader(source, TEXT_SCHEMA)
    schema = _common_schema(source)
    _refuse_twice(schema, source.files[0])
    check_storable(schema, source.files[0])
    return Reader(source, schema, {"schema": schema_text(schema)})


def _refuse_twice(schema: pa.Schema, path: object) -> None:
    """Raise `DataError` for two columns, or fields in one, of one name, which nobody could tell apart."""
    twice = repeated(schema.names)
    if twice is not None:
        raise DataError(f"{path}: the file has column {twice!r} twice; rename one")
    for column in schema:
        twice = _repeated_inside(column.type)
        if twice is not None:
            raise DataError(f"{path}: column {column.name!r} has field {twice!r} twice; rename one")


def _repeated_inside(type_: pa.DataType) -> str | None:
    inner = [type_.field(i) for i in range(type_.num_fields)]
    return repeated(field.name for field in inner) or next(
        filter(None, (_repeated_inside(field.type) for field in inner)), None
    )


def _common_header(source: Source) -> dict[str, str]:
    first, *others = source.files
    header = csv_header(first, compression_of(first))
    for file in others:
        other = csv_header(file, compression_of(file))
        if {k: v.rstrip("\r") for k, v in other.items()} != {
            k: v.rstrip("\r") for k, v in header.items()
        }:
            raise DataError(
                f"{file} has the header {other['header'].rstrip()!r}, {first} has "
                f"{header['header'].rstrip()!r}; ingest them separately"
            )
    return header


def _common_schema(source: Source) -> pa.Schema:
    read_schema = _ARROW_SCHEMAS[source.container]
    first, *others = source.files
    schema = read_schema(first, compression_of(first))
    for file in others:
        other = read_schema(file, compression_of(file))
        if other.equals(schema):
            continue
        _refuse_twice(other, file)
        try:
            if not set(other.names) & set(schema.names):
                raise pa.ArrowInvalid("no column is in both")
            schema = _unified(schema, other)
        except pa.ArrowException as error:
            pairs = [*(set(other) - set(schema)), *(set(schema) - set(other))]
            names = ", ".join(sorted({repr(field.name) for field in pairs})) or "their order"
            raise DataError(
                f"{file} and {first} differ in their columns ({names}); ingest them separately"
            ) from error
    return schema


def _unified(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    """Return a schema for the rows of both; categories and JSON texts are plain where one has them.

    Raises `pa.ArrowException` where types cannot be one.
    """
    try:
        return pa.unify_schemas([schema, other], promote_options="permissive")
    except pa.ArrowException:
        plain = [without_encodings(schema), without_encodings(other)]
        return pa.unify_schemas(plain, promote_options="permissive")
