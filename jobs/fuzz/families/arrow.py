"""Arrow files, streams and Feather: every type, with metadata, offsets and buffers damaged."""

import io
import warnings
from random import Random
from typing import Final

import pyarrow as pa
import pyarrow.feather

from jobs.fuzz.families.datasets import read_dataset
from jobs.fuzz.families.tables import table
from jobs.fuzz.family import Attack, Family
from jobs.fuzz.mutations import damaged

_EDGES: Final = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00",
    b"\x08\x00\x00\x00",
)


def _make(rng: Random) -> Attack:
    if rng.random() < 0.001:
        return Attack(_wide(), "a.arrow")
    content = _written(rng)
    name = rng.choice(("a.arrow", "a.ipc", "a.feather"))
    if rng.random() < 0.3:  # a length or an offset, which are aligned to four bytes
        held = bytearray(content)
        for _ in range(rng.choice((1, 2, 4))):
            at = rng.randrange(len(held) // 4) * 4
            held[at : at + 4] = rng.choice(_EDGES)
        return Attack(bytes(held), name)
    return Attack(damaged(rng, content) if rng.random() < 0.5 else content, name)


def _written(rng: Random) -> bytes:
    while True:
        made = _unified(rng, table(rng))
        sink = io.BytesIO()
        try:
            if rng.random() < 0.1:
                with warnings.catch_warnings(action="ignore"):  # version 1 is old, and still about
                    pa.feather.write_feather(made, sink, version=rng.choice((1, 2)))
                return sink.getvalue()
            options = pa.ipc.IpcWriteOptions(
                compression=rng.choice((None, "zstd", "lz4")),
                metadata_version=rng.choice((pa.ipc.MetadataVersion.V4, pa.ipc.MetadataVersion.V5)),
            )
            new = rng.choice((pa.ipc.new_file, pa.ipc.new_stream))
            with new(sink, made.schema, options=options) as writer:
                writer.write_table(made, max_chunksize=rng.choice((1, 7, 1_000)))
        except (pa.ArrowException, OverflowError, ValueError):  # version 1 of Feather has few types
            continue
        return sink.getvalue()


def _unified(rng: Random, made: pa.Table) -> pa.Table:
    """Return a table with a column of a type that only Arrow has, now and then."""
    n = made.num_rows
    if rng.random() < 0.8 or not n:
        return made
    kind = rng.randrange(3)
    if kind == 0:
        ends = pa.array([n], pa.int32())
        column = pa.RunEndEncodedArray.from_arrays(ends, pa.array(["a"]))
    elif kind == 1:
        types = pa.array([i % 2 for i in range(n)], pa.int8())
        column = pa.UnionArray.from_sparse(types, [pa.array(["a"] * n), pa.array([1] * n)])
    else:
        column = pa.array([["a", "b"]] * n, pa.list_view(pa.string()))
    return made.append_column("extra", column)


def _wide() -> bytes:
    wide = pa.table({f"c{i}": ["a"] for i in range(100_000)})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, wide.schema) as writer:
        writer.write_table(wide)
    return sink.getvalue()


FAMILY: Final = Family("arrow", _make, read_dataset)
