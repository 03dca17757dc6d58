"""The content hash of a score set: equal values give equal hashes, however they were stored."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.store.connection import arrow_reader, identifier, literal
from curate.store.handle import StoreHandle
from curate.store.records import ScoreSet, canonical_json, digest
from curate.store.schema import set_shapes
from curate.store.scores import vectors

BATCH_ROWS = 131_072

Hasher = Any  # hashlib gives its hash objects no public type


def content_hash(store: StoreHandle, score_set: ScoreSet) -> str:
    """Return the hash of all committed values of a set, in order of id, failures included.

    Independent of how the pool is cut into parts, and of the order and size of commits. Streams:
    memory does not grow with the number of examples, apart from 32 bytes per vector.
    """
    set_id = score_set.set_id
    hashes: dict[str, str] = {}
    with store.connect() as con:
        shape = next((s for s in set_shapes(con) if s.set_id == set_id), None)
        columns: dict[str, str] = {} if shape is None else dict(shape.columns)
        if shape is not None:
            names = [name for name, dtype in columns.items() if dtype != "vector"]
            listed = "".join(f", t.{identifier(name)}" for name in names)
            sql = (
                f"select e.id{listed} from {shape.table} t "
                "join internal.examples e on e.row = t.row order by e.id"
            )
            with arrow_reader(con.sql(sql), BATCH_ROWS) as reader:
                hashes |= _hash_rows(reader, "values")
        sql = f"select id, reason from failures where set_id = {literal(set_id)} order by id"
        with arrow_reader(con.sql(sql), BATCH_ROWS) as reader:
            hashes |= _hash_rows(reader, "failures")
    for name, dtype in columns.items():
        if dtype == "vector":
            hashes[f"values.{name}"] = _hash_vectors(vectors.cached(store, set_id, name).array)
    return digest(canonical_json(hashes))


def table_hash(table: pa.Table, about: str = "") -> str:
    """Return the hash of a table's columns, by name, and of a text about it."""
    hashes = _hash_rows(table.to_reader(BATCH_ROWS), "table")
    return digest(canonical_json({"about": about, **hashes}))


def _hash_rows(reader: pa.RecordBatchReader, prefix: str) -> dict[str, str]:
    hashers = {name: _ColumnHash() for name in reader.schema.names}
    for batch in reader:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            hashers[name].update(column)
    return {f"{prefix}.{name}": hasher.hexdigest() for name, hasher in hashers.items()}


class _ColumnHash:
    """Hashes one column fed in pieces of any size: values, lengths and nulls each on their own."""

    def __init__(self) -> None:
        self._valid, self._lengths, self._values = (hashlib.blake2b(digest_size=16) for _ in "vlx")

    def update(self, column: pa.Array) -> None:
        self._valid.update(_bytes(pc.is_valid(column), np.uint8))
        kind = column.type
        if pa.types.is_list(kind):
            self._lengths.update(_bytes(pc.fill_null(pc.list_value_length(column), 0), np.int64))
            self._values.update(_bytes(column.flatten(), np.float64))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            text = pc.fill_null(column, "")
            self._lengths.update(_bytes(pc.binary_length(text), np.int64))
            self._values.update(b"".join(text.cast(pa.large_binary()).to_pylist()))
        else:
            zero = pa.scalar(0).cast(kind) if not pa.types.is_boolean(kind) else pa.scalar(False)
            self._values.update(_bytes(pc.fill_null(column, zero), np.float64))

    def hexdigest(self) -> str:
        return digest(".".join(h.hexdigest() for h in (self._valid, self._lengths, self._values)))


def _bytes(column: pa.Array, dtype: type) -> bytes:
    array = column.to_numpy(zero_copy_only=False)
    little = np.dtype(dtype).newbyteorder("<")
    return bytes(np.ascontiguousarray(array.astype(little, copy=False)).data)


def _hash_vectors(array: "np.ndarray[Any, np.dtype[np.float32]]") -> str:
    hasher = hashlib.blake2b(str(array.shape[1]).encode(), digest_size=16)
    rows = max(1, (16 << 20) // max(1, 4 * array.shape[1]))
    for start in range(0, len(array), rows):
        hasher.update(np.ascontiguousarray(array[start : start + rows]).data)
    return hasher.hexdigest()
