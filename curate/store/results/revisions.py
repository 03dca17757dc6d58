"""Revisions: responses that replace those of examples, with the selection they belong to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import StoreError
from curate.store import inventory
from curate.store.connection import literal
from curate.store.handle import StoreHandle
from curate.store.parts import METADATA_KEY, part_metadata, read_parquet, write_parquet, write_part
from curate.store.results import selection_names, selections
from curate.store.schema import scalar

FOLDER: Final = "revisions"
CANDIDATES: Final = "candidates"
VERDICTS: Final = "verdicts"
ROWS_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()), ("parent_id", pa.string()), ("response", pa.string()),
        ("confidence", pa.float64()), ("consistency", pa.float64()), ("reflection", pa.float64()),
        ("parent_confidence", pa.float64()), ("model", pa.string()),
    ]
)  # fmt: skip


def save(store: StoreHandle, record: Mapping[str, Any], rows: pa.Table, revised: pa.Table) -> None:
    """Store a selection with its revisions, replacing earlier ones."""
    path = _path(store.parts, record["selection_id"])
    with store.write() as con:
        write_parquet(path, revised.select(ROWS_SCHEMA.names).cast(ROWS_SCHEMA))
        insert(con, record["selection_id"], path)
        inventory.record(con, store.parts, [path])
        selections.write(store, con, record, rows)


def insert(con: duckdb.DuckDBPyConnection, selection_id: str, rows: Path) -> None:
    """Write the revisions of a Parquet file into the database, without their texts."""
    con.execute("delete from revisions where selection_id = ?", [selection_id])
    con.execute(
        f"""insert into revisions select id, parent_id, ?, confidence
        from read_parquet({literal(str(rows))})""",
        [selection_id],
    )


def of_selection(store: StoreHandle, selection_id: str) -> pa.Table:
    """Return the revisions of a selection; `StoreError` if the file of their texts was deleted."""
    with store.connect() as con:
        full_id = selection_names.resolve(con, store.parts, selection_id)
        n = scalar(con, "select count(*) from revisions where selection_id = ?", [full_id])
    if n == 0:
        return ROWS_SCHEMA.empty_table()
    path = _path(store.parts, full_id)
    if not path.exists():
        raise StoreError(
            f"{path} is missing, which holds the {n} revised responses of selection {full_id}; "
            f"restore it from a backup of the store, or delete {store.parts / 'procedures'} and "
            "select again"
        )
    return read_parquet(path)


def of_example(store: StoreHandle, example_id: str) -> list[dict[str, Any]]:
    """Return the revisions of one example, by selection."""
    with store.connect() as con:
        known = con.execute(
            """select r.selection_id, s.method from revisions r
            join selections s using (selection_id) where r.parent_id = ? order by 1""",
            [example_id],
        ).fetchall()
    return [
        {"selection_id": selection_id, "method": method, **row}
        for selection_id, method in known
        for row in of_selection(store, selection_id).to_pylist()
        if row["parent_id"] == example_id
    ]


def add_all(con: duckdb.DuckDBPyConnection, parts: Path) -> None:
    """Write the revisions of every selection that is in the database from their files."""
    for (selection_id,) in con.execute("select selection_id from selections").fetchall():
        if _path(parts, selection_id).exists():
            insert(con, selection_id, _path(parts, selection_id))


def forget_texts(parts: Path, gone: pa.Array) -> None:
    """Take examples out of every file of candidates, verdicts and revisions."""
    folders = [parts / FOLDER, *parts.glob(f"{CANDIDATES}/*"), *parts.glob(f"{VERDICTS}/*")]
    for path in (path for folder in folders for path in sorted(folder.glob("*.parquet"))):
        table = read_parquet(path)
        kept = table.filter(pc.invert(pc.is_in(table["parent_id"], value_set=gone)))
        if kept.num_rows == table.num_rows:
            continue
        if METADATA_KEY in (table.schema.metadata or {}):
            write_part(path, kept, part_metadata(table.schema))
        else:
            write_parquet(path, kept)


def _path(parts: Path, selection_id: str) -> Path:
    return parts / FOLDER / f"{selection_id}.parquet"
