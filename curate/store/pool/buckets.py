"""Rows in the order of their shards, without sorting more of them at once than memory holds."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ENGINE_BYTES: Final = 256 * 2**20  # of rows that the engine sorts in one go, which is quicker
BUCKET_BYTES: Final = 64 * 2**20  # of more rows, those that are sorted in memory at once
BUFFER_BYTES: Final = 64 * 2**20  # of rows that wait to be written
MOST_FILES: Final = 256  # open at once; more rows make larger buckets

_ORDER: Final = ("number", "first", "position")  # of a row: its shard, its group, its own place


def shards_of_a_bucket(n_bytes: int, n_shards: int) -> int:
    """Return how many shards of rows that take so many bytes together are sorted at once."""
    if n_bytes <= ENGINE_BYTES:
        return n_shards
    n_buckets = min(MOST_FILES, -(-n_bytes // BUCKET_BYTES))
    return max(1, -(-n_shards // n_buckets))


def in_order(
    reader: pa.RecordBatchReader, folder: Path, shards_each: int
) -> Iterator[pa.RecordBatch]:
    """Yield rows that come in any order by their shard, their group and their place.

    They are written to files of so many shards each, which are sorted one after the other and
    removed. Memory: `BUFFER_BYTES`, then twice the rows of one file.

    Parameters
    ----------
    reader
        Rows with ``number`` of their shard, ``first`` of their group and ``position``.
    folder
        For the files; it is created, and removed at the end.
    shards_each
        Shards in each file.
    """
    folder.mkdir()
    for path in _distributed(reader, folder, shards_each):
        with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as stream:
            rows = stream.read_all()
        path.unlink()
        order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in _ORDER])
        yield from rows.take(order).to_batches()
    folder.rmdir()


def _distributed(reader: pa.RecordBatchReader, folder: Path, shards_each: int) -> list[Path]:
    """Write rows to files of so many shards each; return these in the order of their shards."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    waiting: list[tuple[int, pa.RecordBatch]] = []
    n_waiting = 0
    paths: dict[int, Path] = {}
    with ExitStack() as stack:
        writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

        def write() -> None:
            for bucket, rows in waiting:
                if bucket not in writers:
                    paths[bucket] = folder / f"{bucket:05d}.arrow"
                    file = stack.enter_context(pa.OSFile(str(paths[bucket]), "wb"))
                    made = pa.ipc.new_stream(file, rows.schema, options=options)
                    writers[bucket] = stack.enter_context(made)
                writers[bucket].write_batch(rows)
            waiting.clear()

        for batch in reader:
            of = batch.column("number").to_numpy(zero_copy_only=False) // shards_each
            for bucket in np.unique(of).tolist():
                rows = batch.take(pa.array(np.flatnonzero(of == bucket)))
                waiting.append((bucket, rows))
                n_waiting += rows.nbytes
            if n_waiting >= BUFFER_BYTES:
                write()
                n_waiting = 0
        write()
    return [paths[bucket] for bucket in sorted(paths)]
