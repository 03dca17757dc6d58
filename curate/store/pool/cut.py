"""Cutting an ingest into new examples and shards, out of core."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from curate.store import engine
from curate.store.connection import arrow_reader, literal
from curate.store.parts import WRITTEN
from curate.store.pool.buckets import in_order, shards_of_a_bucket
from curate.store.schema import scalar

MAX_SHARD: Final = 16_384
MIN_SHARD: Final = 256
SHARDS_WANTED: Final = 64
MEMORY_LIMIT: Final = "512MiB"
IN_MEMORY_BYTES: Final = 16 * 1024**2  # compressed rows that are cut without a file of their own

SHARD_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("group_id", pa.string()),
        ("source", pa.string()),
        ("messages", pa.string()),
        ("tools", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("n_chars", pa.int64()),
        ("input_at", pa.int64()),
    ]
)

_STEPS: Final = (
    """create or replace table firsts as
        select id, min(position) as position, count(*) as n_rows from slim group by id""",
    """create or replace table fresh as
        select s.id, s.position, s.group_id, s.source, s.n_chars, f.n_rows
        from firsts f join slim s on s.position = f.position
        where f.id not in (select id from read_parquet({known}))""",
    """create or replace table seen as
        select id, n_rows from firsts where id in (select id from read_parquet({known}))""",
)
_ASSIGN: Final = """create or replace table assigned as
    with sizes as (
        select group_id, min(position) as first, count(*) as n from fresh group by group_id
    ), starts as (
        select group_id, first,
            (sum(n) over (order by first rows unbounded preceding) - n) // {size} as slot
        from sizes
    ), numbered as (
        select group_id, first, dense_rank() over (order by slot) - 1 as number from starts
    )
    select f.*, n.number, n.first from fresh f join numbered n on n.group_id = f.group_id"""


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """What an ingest adds: ``index`` lists new examples, ``seen`` those the pool already had."""

    index: Path
    seen: Path
    n_new: int
    n_shards: int


def shard_size(n_new: int) -> int:
    """Return how many examples each shard should hold for an ingest of ``n_new`` new examples."""
    return min(MAX_SHARD, max(MIN_SHARD, n_new // SHARDS_WANTED))


def cut(folder: Path, staged: Path, known: Path, dataset_id: str) -> Cut:
    """Find the examples the pool does not have yet and write them as shards.

    Groups are kept whole and in the order of their first row. Sorting and joining spill into
    ``folder``, so memory does not grow with the number of rows; few rows are cut in memory, in two
    thirds of the time.

    Parameters
    ----------
    folder
        Staging folder; shards go to ``examples/`` in it.
    staged
        Parquet file of all rows read.
    known
        Parquet file with the ids of the pool.
    dataset_id
        Shards are named after it.
    """
    index, seen = folder / "index.parquet", folder / "seen.parquet"
    is_small = staged.stat().st_size <= IN_MEMORY_BYTES
    work = None if is_small else folder / "work.duckdb"
    with engine.attached(work, folder / "spill", MEMORY_LIMIT) as con:
        con.execute(
            "create or replace table slim as select position, id, group_id, source, n_chars "
            f"from read_parquet({literal(str(staged))})"
        )
        for step in _STEPS:
            con.execute(step.format(known=literal(str(known))))
        n_new = scalar(con, "select count(*) from fresh")
        con.execute(_ASSIGN.format(size=shard_size(n_new)))
        n_shards = scalar(con, "select count(distinct number) from assigned")
        names = f"{literal(dataset_id + '-')} || format('{{:05d}}', number)"
        con.execute(
            f"""copy (select id, {names} as shard, source, group_id, n_rows, n_chars, number
            from assigned order by first, position) to {literal(str(index))} (format parquet)"""
        )
        con.execute(
            f"copy (select * from seen order by id) to {literal(str(seen))} (format parquet)"
        )
        _write_shards(con, folder / "examples", staged, n_shards)
    return Cut(index, seen, n_new, n_shards)


def _write_shards(
    con: duckdb.DuckDBPyConnection, folder: Path, staged: Path, n_shards: int
) -> None:
    """Write the shards; the whole staging folder is synced at once, when it is complete.

    More rows than are sorted in memory are not left to the engine to sort: with long texts it runs
    out of memory where it should spill.
    """
    folder.mkdir(exist_ok=True)
    columns = ", ".join(f"p.{name}" for name in SHARD_SCHEMA.names)
    rows = f"""select a.number, a.first, a.position, {columns}
        from assigned a join read_parquet({literal(str(staged))}) p on p.position = a.position"""
    shards_each = shards_of_a_bucket(_uncompressed(staged), n_shards)
    is_small = shards_each >= n_shards
    relation = con.sql(f"{rows} order by a.first, a.position" if is_small else rows)
    with arrow_reader(relation, 2_048) as reader:
        ordered = reader if is_small else in_order(reader, folder.with_name("buckets"), shards_each)
        for number, table in _by_number(ordered):
            path = folder / f"shard-{number:05d}.parquet"
            pq.write_table(table.cast(SHARD_SCHEMA), path, **WRITTEN)


def _uncompressed(path: Path) -> int:
    """Return the bytes that the columns of a Parquet file have without their compression."""
    facts = pq.read_metadata(path)
    return sum(facts.row_group(n).total_byte_size for n in range(facts.num_row_groups))


def _by_number(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    """Split a stream that is ordered by its first column into one table per value of it."""
    current = -1
    pieces: list[pa.RecordBatch] = []
    for batch in batches:
        numbers = batch.column(0).to_numpy(zero_copy_only=False)
        edges = [0, *(numbers[1:] != numbers[:-1]).nonzero()[0] + 1, len(numbers)]
        for low, high in pairwise(edges):
            if low == high:
                continue
            if numbers[low] != current and pieces:
                yield current, pa.Table.from_batches(pieces).select(SHARD_SCHEMA.names)
                pieces = []
            current = int(numbers[low])
            pieces.append(batch.slice(low, high - low))
    if pieces:
        yield current, pa.Table.from_batches(pieces).select(SHARD_SCHEMA.names)
