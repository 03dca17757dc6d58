"""Selections: saved beside the parts and in the database."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.errors import ConfigError
from curate.store import inventory
from curate.store.connection import literal
from curate.store.handle import StoreHandle
from curate.store.parts import write_json, write_parquet
from curate.store.records import canonical_json, text_or_json, utc_now
from curate.store.results import selection_names
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
    full["created_at"] = _after_the_others(con, full["selection_id"], full["created_at"])
    kept = rows.select(ROWS_SCHEMA.names).cast(ROWS_SCHEMA).sort_by("rank")
    folder = store.parts / "selections"
    write_parquet(folder / f"{record['selection_id']}.parquet", kept)
    insert(con, full, folder / f"{record['selection_id']}.parquet")
    write_json(folder / f"{record['selection_id']}.json", full)
    inventory.record(con, store.parts, [folder / f"{record['selection_id']}.parquet"])


def _after_the_others(con: duckdb.DuckDBPyConnection, selection_id: str, moment: str) -> str:
    """Return a moment, or one right after the newest selection where the clock was set back since."""
    [(newest,)] = con.execute(
        "select max(created_at) from selections where selection_id <> ?", [selection_id]
    ).fetchall()
    if newest is None or moment > newest:
        return moment
    return (datetime.fromisoformat(newest) + timedelta(microseconds=1)).isoformat(
        timespec="microseconds"
    )


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
        full_id = selection_names.resolve(con, store.parts, selection_id)
        (manifest,) = con.execute(
            "select manifest from selections where selection_id = ?", [full_id]
        ).fetchall()[0]
        gone = n_forgotten(con, full_id)
    return {**json.loads(manifest), "n_forgotten": gone}


def rows(store: StoreHandle, selection_id: str) -> pa.Table:
    """Return the rows of a selection, best first."""
    with store.connect() as con:
        full_id = selection_names.resolve(con, store.parts, selection_id)
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


def delete(store: StoreHandle, selection_id: str) -> str:
    """Delete a selection with its files, and return its id; examples and scores stay.

    Raises `ConfigError` for one that a proof's trial trained on or another selection was made from.
    """
    with store.write() as con:
        full_id = selection_names.resolve(con, store.parts, selection_id)
        used = _users(con, full_id)
        if used:
            raise ConfigError(f"selection {full_id} is kept: {used} was made from it")
        for table in ("selections", "selection_rows", "revisions"):
            con.execute(f"delete from {table} where selection_id = ?", [full_id])
        selection_names.forget(store.parts, full_id)
    for folder, endings in (("selections", (".json", ".parquet")), ("revisions", (".parquet",))):
        for ending in endings:  # a kill before this leaves what gc collects
            (store.parts / folder / f"{full_id}{ending}").unlink(missing_ok=True)
    return full_id


def _users(con: duckdb.DuckDBPyConnection, selection_id: str) -> str:
    """Return what was made from a selection, in words, or ""."""
    n_trials = scalar(con, "select count(*) from trials where selection_id = ?", [selection_id])
    if n_trials:
        return f"a proof's trial ({n_trials} of them)"
    manifests = con.execute("select selection_id, manifest from selections").fetchall()
    for other, manifest in manifests:
        record = json.loads(manifest)
        if selection_id in (*(record.get("selections") or ()), record.get("within")):
            return f"selection {other}"
    return ""


def n_forgotten(con: duckdb.DuckDBPyConnection, selection_id: str) -> int:
    """Return how many rows of a selection are no longer in the pool."""
    return scalar(
        con,
        """select count(*) from selection_rows s anti join internal.examples e on e.id = s.id
        where s.selection_id = ?""",
        [selection_id],
    )


def forgotten_by_selection(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return `n_forgotten` of every selection that has some."""
    rows = con.execute(
        """select s.selection_id, count(*) from selection_rows s
        anti join internal.examples e on e.id = s.id group by all"""
    ).fetchall()
    return dict(rows)
