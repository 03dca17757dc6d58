"""How each shard of a score set was computed: by which worker, how fast, with what padding and memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import duckdb
import pyarrow as pa

from curate.store.parts import RUN

TABLE: Final = """create table if not exists shard_runs (
    set_id varchar, shard varchar, worker varchar, device varchar, finished_at varchar,
    n_examples bigint, n_failed bigint, tokens bigint, seconds double, tokens_per_s double,
    padding double, n_retries bigint, peak_mib double, device_peak_mib double)"""
"""Documented for SQL. A store of before there was one gets it with the next part it commits."""

_SCHEMA: Final = pa.schema(
    [
        ("set_id", pa.string()), ("shard", pa.string()), ("worker", pa.string()),
        ("device", pa.string()), ("finished_at", pa.string()), ("n_examples", pa.int64()),
        ("n_failed", pa.int64()), ("tokens", pa.int64()), ("seconds", pa.float64()),
        ("tokens_per_s", pa.float64()), ("padding", pa.float64()), ("n_retries", pa.int64()),
        ("peak_mib", pa.float64()), ("device_peak_mib", pa.float64()),
    ]
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class PartFacts:
    """What is written down of one committed part: its counts, and the facts it was written with."""

    shard: str
    n_examples: int
    n_failed: int
    metadata: Mapping[str, Any]


def record(con: duckdb.DuckDBPyConnection, set_id: str, parts: Sequence[PartFacts]) -> None:
    """Write down committed parts: which shards a score set has, and how those were computed.

    A part of before workers measured themselves, or of a scorer of the whole pool, has no run.
    """
    committed = [
        (
            set_id, part.shard, part.n_examples, part.n_failed,
            int(part.metadata.get("tokens", 0)), float(part.metadata.get("wall_s", 0.0)),
            str(part.metadata.get("device", "")),
        )
        for part in parts
    ]  # fmt: skip
    con.execute(
        f"insert into internal.set_shards select {', '.join(['unnest(?)'] * len(committed[0]))}",
        [list(column) for column in zip(*committed, strict=True)],
    )
    rows = [
        {
            **part.metadata[RUN], "set_id": set_id, "shard": part.shard,
            "n_examples": part.n_examples, "n_failed": part.n_failed,
        }
        for part in parts
        if RUN in part.metadata
    ]  # fmt: skip
    con.execute(TABLE)
    if not rows:
        return
    con.register("shard_runs_now", pa.Table.from_pylist(rows, schema=_SCHEMA))
    con.execute(
        "delete from shard_runs where set_id = ? and shard in (select shard from shard_runs_now)",
        [set_id],
    )
    con.execute("insert into shard_runs select * from shard_runs_now")
    con.unregister("shard_runs_now")


def n_committed(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return how many examples have an entry in each score set that has any, by its id. O(shards)."""
    rows = con.execute(
        "select set_id, sum(n_examples)::bigint from internal.set_shards group by set_id"
    ).fetchall()
    return dict(rows)


def workers(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return what each worker has done: shards, tokens, speed, padding, retries, memory. O(shards).

    A shard that went through a pass of several scorers counts once.
    """
    return _summed(
        con,
        "worker",
        "(select distinct on (worker, shard, finished_at) * from shard_runs)",
        "any_value(device) as device, count(*) as n_shards, sum(n_examples)::bigint as n_examples, "
        "sum(tokens)::bigint as tokens, round(sum(seconds), 3) as seconds, "
        "max(device_peak_mib) as device_peak_mib, max(finished_at) as last_finished_at, ",
        "last_finished_at, worker",
    )


def speeds(con: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """Return what is known of the shards of each score set, by its id. O(shards).

    ``examples_per_s`` is of one worker.
    """
    per_s = "round(sum(n_examples) / greatest(sum(seconds), 1e-9), 2) as examples_per_s, "
    return {row["set_id"]: row for row in _summed(con, "set_id", "shard_runs", per_s, "set_id")}


def _summed(
    con: duckdb.DuckDBPyConnection, by: str, source: str, columns: str, order: str
) -> list[dict[str, Any]]:
    if not _is_there(con):
        return []
    found: list[dict[str, Any]] = (
        con.sql(
            f"""select {by}, {columns}
            round(sum(tokens) / greatest(sum(seconds), 1e-9), 1) as tokens_per_s,
            round(1 - sum(tokens) filter (padding is not null)
                / nullif(sum(tokens / (1 - padding)), 0), 4) as padding,
            sum(n_retries)::bigint as n_retries, max(peak_mib) as peak_mib
            from {source} group by {by} order by {order}"""
        )
        .to_arrow_table()
        .to_pylist()
    )
    return found


def _is_there(con: duckdb.DuckDBPyConnection) -> bool:
    found = con.execute(
        "select 1 from information_schema.tables where table_catalog = current_database() "
        "and table_schema = 'main' and table_name = 'shard_runs'"
    ).fetchall()
    return bool(found)
