"""Selections: saved beside the parts and in the database."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.errors import ConfigError, DataError
from curate.store import inventory
from curate.store.connection import literal
from curate.store.handle import StoreHandle
from curate.store.parts import write_json, write_parquet
from curate.store.records import canonical_json, text_or_json, utc_now
from curate.store.schema import scalar

ROWS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("rank", pa.int64()),
        ("gain", pa.float64()),
        ("weight", pa.float64()),
        ("reason", pa.string()),
    ]
)


def save(store: StoreHandle, record: Mapping[str, Any], rows: pa.Table) -> None:
    """Store a selection; one with the same id is replaced."""
    for name in ("selection_id", "method"):
        if not record.get(name):
            raise ConfigError(f"a selection needs {name!r}, got {sorted(record)}")
    missing = [name for name in ROWS_SCHEMA.names if name not in rows.column_names]
    if missing:
        raise ConfigError(f"the rows of a selection lack {missing}; they have {rows.column_names}")
    with store.write() as con:
        write(store, con, record, rows)


def write(
    store: StoreHandle, con: duckdb.DuckDBPyConnection, record: Mapping[str, Any], rows: pa.Table
) -> None:
    """Write a selection's files and its rows in the database, in the transaction of ``con``."""
    full = {"created_at": utc_now(), **record}
    kept = rows.select(ROWS_SCHEMA.names).cast(ROWS_SCHEMA).sort_by("rank")
    folder = store.parts / "selections"
    write_parquet(folder / f"{record['selection_id']}.parquet", kept)
    insert(con, full, folder / f"{record['selection_id']}.parquet")
    write_json(folder / f"{record['selection_id']}.json", full)
    inventory.record(con, store.parts, [folder / f"{record['selection_id']}.parquet"])


def insert(con: duckdb.DuckDBPyConnection, record: Mapping[str, Any], rows: Path) -> None:
    """Write a selection's record and the rows of its Parquet file into the database."""
    selection_id = record["selection_id"]
    for table in ("selections", "selection_rows"):
        con.execute(f"delete from {table} where selection_id = ?", [selection_id])
    con.execute(
        "insert into selections values (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            selection_id, record["method"], text_or_json(record.get("config")),
            text_or_json(record.get("budget")), record.get("seed"), text_or_json(record.get("counts")),
            record["created_at"], canonical_json(dict(record)),
        ],
    )  # fmt: skip
    con.execute(
        f"insert into selection_rows select ?, * from read_parquet({literal(str(rows))})",
        [selection_id],
    )


def load(store: StoreHandle, selection_id: str) -> dict[str, Any]:
    """Return a selection's record; ``n_forgotten`` counts its rows no longer in the pool."""
    with store.connect() as con:
        full_id = resolve(con, selection_id)
        (manifest,) = con.execute(
            "select manifest from selections where selection_id = ?", [full_id]
        ).fetchall()[0]
        gone = n_forgotten(con, full_id)
    return {**json.loads(manifest), "n_forgotten": gone}


def rows(store: StoreHandle, selection_id: str) -> pa.Table:
    """Return the rows of a selection, best first."""
    with store.connect() as con:
        full_id = resolve(con, selection_id)
        table: pa.Table = con.sql(
            f"""select id, rank, gain, weight, reason from selection_rows
            where selection_id = {literal(full_id)} order by rank"""
        ).to_arrow_table()
    return table


def listed(store: StoreHandle, selection_id: str, *, in_pool: bool) -> list[str]:
    """Return the ids of a selection in order of rank; none if there is no such selection."""
    present = "and id in (select id from internal.examples)" if in_pool else ""
    with store.connect() as con:
        rows = con.execute(
            f"select id from selection_rows where selection_id = ? {present} order by rank",
            [selection_id],
        ).fetchall()
    return [i for (i,) in rows]


def resolve(con: duckdb.DuckDBPyConnection, selection_id: str) -> str:
    """Return the full id of a selection named by its id or an unambiguous prefix."""
    known = [
        i
        for (i,) in con.execute(
            "select selection_id from selections order by created_at desc"
        ).fetchall()
    ]
    if selection_id in known:
        return selection_id
    matching = [i for i in known if i.startswith(selection_id)] if selection_id else []
    if len(matching) == 1:
        return str(matching[0])
    if matching:
        raise DataError(
            f"selection {selection_id!r} is a prefix of several ids: {', '.join(matching)}"
        )
    shown = ", ".join(known[:5]) or "none"
    raise DataError(f"no selection {selection_id!r} in the store; the newest are: {shown}")


def n_forgotten(con: duckdb.DuckDBPyConnection, selection_id: str) -> int:
    """Return how many rows of a selection are no longer in the pool."""
    return scalar(
        con,
        """select count(*) from selection_rows s where s.selection_id = ?
        and s.id not in (select id from internal.examples)""",
        [selection_id],
    )
