"""Deletes examples for good: one small file records the decision; a kill is resumed from it."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.store import inventory, schema
from curate.store.connection import literal
from curate.store.handle import StoreHandle
from curate.store.parts import (
    METADATA_KEY,
    UNFINISHED,
    WRITTEN,
    atomic_path,
    files_below,
    open_parquet,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
    write_part,
)
from curate.store.query import viewing
from curate.store.records import canonical_json, digest
from curate.store.results import revisions
from curate.store.scores import outdated, sets

FOLDER: Final = "forgotten"


def forget(store: StoreHandle, where: str, *, dry_run: bool) -> dict[str, Any]:
    """Remove the examples that satisfy a condition, with their rows, texts and scores.

    Selections keep their rows; `Store.selection` counts those that were deleted. Revisions of their
    responses are deleted too. If the process is killed after the decision is on disk, the next opening
    of the store carries it out, or the next forgetting of whoever has it open.
    """
    if not dry_run:
        finish_pending(store)  # it may have rewritten some of the files that this one will
    with store.connect() as con:
        ids = viewing.matching(store, con, where)
        con.register("gone", ids)
        forgotten = con.sql(
            "select e.id, e.shard from internal.examples e join gone g on g.id = e.id order by e.id"
        ).to_arrow_table()
        datasets = [
            d
            for (d,) in con.execute(
                "select distinct r.dataset from rows r join gone g on g.id = r.id order by all"
            ).fetchall()
        ]
        n_rows = schema.scalar(
            con, "select sum(n_rows) from internal.examples e join gone g on g.id = e.id"
        )
        n_selected = schema.scalar(
            con, "select count(*) from selection_rows s join gone g on g.id = s.id"
        )
    if forgotten.num_rows and not dry_run:
        name = digest("".join(forgotten["id"].to_pylist()), 8)
        path = store.parts / FOLDER / f"{name}.parquet"
        facts = {METADATA_KEY: json.dumps({"datasets": datasets}).encode()}
        write_parquet(path, forgotten.replace_schema_metadata(facts))
        _carry_out(store, path)
    return {"n_examples": forgotten.num_rows, "n_rows": n_rows, "n_selected": n_selected,
            "dry_run": dry_run}  # fmt: skip


def finish_pending(store: StoreHandle) -> int:
    """Carry out what a killed process had decided to forget; return how many decisions."""
    pending = sorted((store.parts / FOLDER).glob("*.parquet"))
    for path in pending:
        _carry_out(store, path)
    return len(pending)


def _carry_out(store: StoreHandle, decision: Path) -> None:
    with store.write(settled=False) as con:  # a killed process may have deleted some files
        if not decision.exists():  # another process has carried it out meanwhile
            return
        table = pq.ParquetFile(decision).read()
        datasets = json.loads(table.schema.metadata[METADATA_KEY])["datasets"]
        gone = table["id"].combine_chunks()
        shards = sorted(set(table["shard"].to_pylist()))
        for dataset in datasets:
            _rewrite_rows(store.parts, dataset, gone)
        for shard in shards:
            _rewrite_shard(store.parts, shard, gone)
        revisions.forget_texts(store.parts, gone)
        for cache in (store.parts / "cache").glob("*.npy"):
            cache.unlink()
        con.register("gone", table)
        _delete(con, shards)
        con.execute("delete from revisions where parent_id in (select id from gone)")
        _update_manifests(con, store.parts, datasets)
        store.settle(con)
        schema.refresh_views(con, store.parts)
        version = int(schema.meta(con, "pool_version") or "0")
        schema.set_meta(con, "pool_version", str(version + 1))
        schema.set_meta(con, "pool_hash", None)
        schema.set_meta(con, outdated.FORGOTTEN, "yes")
        inventory.record_again(con, store.parts)
    for status in sets.statuses(store):
        score_set = sets.find_score_set(store, status.set_id)
        if status.content_hash is not None and score_set is not None:
            sets.finish(store, score_set)
    with store.write():  # nobody is between looking for it and reading it
        decision.unlink(missing_ok=True)


def _delete(con: duckdb.DuckDBPyConnection, shards: Sequence[str]) -> None:
    for shape in schema.set_shapes(con):
        con.execute(
            f"""delete from {shape.table} where row in
            (select e.row from internal.examples e join gone g on g.id = e.id)"""
        )
    listed = ", ".join(literal(shard) for shard in shards)
    set_ids = [
        s for (s,) in con.execute("select distinct set_id from internal.set_shards").fetchall()
    ]
    for set_id in set_ids:
        con.execute(
            """update internal.set_shards s set n_failed = n_failed - t.n
            from (select e.shard, count(*) as n from failures f join gone g on g.id = f.id
                join internal.examples e on e.id = f.id where f.set_id = ? group by e.shard) t
            where s.set_id = ? and s.shard = t.shard""",
            [set_id, set_id],
        )
    for table in ("internal.examples", "internal.also_in", "failures"):
        con.execute(f"delete from {table} where id in (select id from gone)")
    con.execute(
        f"""update internal.shards s set n_examples =
            (select count(*) from internal.examples e where e.shard = s.shard_id)
        where shard_id in ({listed})"""
    )
    con.execute("delete from internal.shards where n_examples = 0")
    con.execute(
        "delete from internal.set_shards where shard not in (select shard_id from internal.shards)"
    )
    con.execute(
        f"""update internal.set_shards s set n_examples =
            (select n_examples from internal.shards i where i.shard_id = s.shard)
        where shard in ({listed})"""
    )
    for shape in schema.set_shapes(con):
        if shape.partial:
            _recount(con, shape, listed)


def _recount(con: duckdb.DuckDBPyConnection, shape: schema.SetShape, shards: str) -> None:
    """Recount what a partial set holds of some shards: its entries, scores and failures."""
    con.execute(
        f"""update internal.set_shards s set n_examples =
            (select count(*) from internal.examples e where e.shard = s.shard and
                (e.row in (select row from {shape.table})
                or e.id in (select id from failures where set_id = ?)))
        where s.set_id = ? and s.shard in ({shards})""",
        [shape.set_id, shape.set_id],
    )


def _update_manifests(con: duckdb.DuckDBPyConnection, parts: Path, datasets: Sequence[str]) -> None:
    for dataset in datasets:
        path = parts / "datasets" / f"{dataset}.json"
        manifest = dict(read_json(path))
        with pq.ParquetFile(parts / "rows" / f"{dataset}.parquet") as rows:
            manifest["n_rows"] = rows.metadata.num_rows
        con.execute(
            "update internal.datasets set manifest = ? where dataset_id = ?",
            [canonical_json(manifest), dataset],
        )
        write_json(path, manifest)


def _rewrite_shard(parts: Path, shard: str, gone: pa.Array) -> None:
    """Rewrite a shard of the pool and its part of every score set; drop what is kept of unfinished ones."""
    dataset, _, number = shard.rpartition("-")
    texts = parts / "examples" / dataset / f"shard-{number}.parquet"
    for path in [texts, *sorted((parts / "scores").glob(f"*/{shard}.parquet"))]:
        if not path.exists():
            continue
        table = read_parquet(path)
        kept = table.filter(pc.invert(pc.is_in(table["id"], value_set=gone)))
        if kept.num_rows == 0 and (path == texts or not texts.exists()):
            path.unlink()  # the part of a partial set may be empty while its shard is not
        elif kept.num_rows < table.num_rows:
            metadata = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
            write_part(path, kept, metadata) if metadata else write_parquet(path, kept)
    unfinished = parts / UNFINISHED / shard
    for path in files_below(unfinished):  # where a job may be at work
        path.unlink(missing_ok=True)
    shutil.rmtree(unfinished, ignore_errors=True)


def _rewrite_rows(parts: Path, dataset: str, gone: pa.Array) -> None:
    """Rewrite the rows of a dataset and its raw records, which lie in the same order.

    The raw folder is rebuilt beside itself and swapped before the rows are rewritten: as long as
    the rows still list a forgotten id, what to drop from the raw records can be worked out again.
    """
    path = parts / "rows" / f"{dataset}.parquet"
    raw, old = parts / "raw" / dataset, parts / "raw" / f".{dataset}.old"
    rows = read_parquet(path)
    keep = pc.invert(pc.is_in(rows["id"], value_set=gone)).combine_chunks()
    if not pc.all(keep).as_py():
        if not old.exists():
            new = parts / "raw" / f".{dataset}.new"
            shutil.rmtree(new, ignore_errors=True)
            _filter_raw(raw, new, keep)
            os.replace(raw, old)
        if not raw.exists():
            os.replace(parts / "raw" / f".{dataset}.new", raw)
        write_parquet(path, rows.filter(keep))
    shutil.rmtree(old, ignore_errors=True)


def _filter_raw(folder: Path, target: Path, keep: pa.Array) -> None:
    start = 0
    for path in sorted(folder.glob("part-*.parquet")):
        with (
            open_parquet(path) as file,
            atomic_path(target / path.name) as temporary,
            pq.ParquetWriter(temporary, file.schema_arrow, **WRITTEN) as writer,
        ):
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group)
                writer.write_table(table.filter(keep.slice(start, table.num_rows)))
                start += table.num_rows
