"""Vectors of a score set as one memory-mapped array in order of id, built in blocks."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ScoreError
from curate.store.connection import literal
from curate.store.handle import StoreHandle
from curate.store.ids import Lookup, id_bytes, order
from curate.store.parts import atomic_path, open_parquet
from curate.store.records import digest

BLOCK_ROWS = 8_192
_BUILDING = threading.Lock()  # threads share the name of a temporary file


@final
@dataclass(frozen=True, eq=False)
class CachedVectors:
    """All vectors of a set, (m, dim) float32, and the ids they belong to, (m,), sorted."""

    array: "np.ndarray[Any, np.dtype[np.float32]]"
    ids: "np.ndarray[Any, np.dtype[np.bytes_]]"


def cached(store: StoreHandle, set_id: str, column: str) -> CachedVectors:
    """Return the vectors of a set, from the cache or built now.

    The file's name has a hash of what is committed, so that a set which grew gets a new file.
    Building reads each part once, in blocks, and takes 32 bytes of memory an example.
    """
    with store.connect() as con:
        shards = _committed(con, set_id)
        # forgetting examples changes a shard's count, an append adds a shard
        state = digest("|".join(f"{s}:{n}" for s, n in shards) + column, 8)
        if shards:
            reader = con.sql(
                f"select e.id from internal.scalars_{set_id} t "
                "join internal.examples e on e.row = t.row"
            )
            ids = id_bytes(reader.to_arrow_table()["id"])
            ids = ids[order(ids)]
        else:
            ids = np.empty(0, dtype="S32")
    if len(ids) == 0:
        return CachedVectors(np.empty((0, 0), dtype=np.float32), ids)
    path = store.cache / f"{set_id}-{state}.npy"
    with _BUILDING:
        if not path.exists():
            parts = [store.parts / "scores" / set_id / f"{s}.parquet" for s, _ in shards]
            _build(path, parts, column, ids)
    return CachedVectors(np.load(path, mmap_mode="r"), ids)


def _committed(con: duckdb.DuckDBPyConnection, set_id: str) -> list[tuple[str, int]]:
    return con.execute(
        f"""select shard, n_examples from internal.set_shards where set_id = {literal(set_id)}
        order by shard"""
    ).fetchall()


def _build(
    path: Path, parts: list[Path], column: str, ids: "np.ndarray[Any, np.dtype[np.bytes_]]"
) -> None:
    out: np.memmap[Any, Any] | None = None
    filled = 0
    place = Lookup(ids)
    with atomic_path(path) as temporary:
        for part in parts:
            with open_parquet(part) as file:
                for batch in file.iter_batches(BLOCK_ROWS, columns=["id", column, "failure"]):
                    kept = batch.filter(pc.is_null(batch["failure"]))
                    if len(kept) == 0:
                        continue
                    block = matrix(kept[column], part)
                    if out is None:
                        shape = (len(ids), block.shape[1])
                        out = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
                    if block.shape[1] != out.shape[1]:
                        raise ScoreError(
                            f"part {part} has vectors of {block.shape[1]} components, others of "
                            f"its score set have {out.shape[1]}"
                        )
                    out[place(id_bytes(kept["id"]))] = block
                    filled += len(block)
        assert out is not None
        assert filled == len(ids)
        out.flush()
        del out


def matrix(column: pa.Array, part: Path) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return a column of equally long lists as a matrix, without a Python loop."""
    lengths = pc.list_value_length(column)
    low, high = pc.min(lengths).as_py(), pc.max(lengths).as_py()
    if column.null_count or low != high or not low:
        raise ScoreError(f"part {part} has vectors of different length, or empty ones")
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return np.asarray(flat.reshape(len(column), low))
