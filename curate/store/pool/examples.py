"""Reading the pool: datasets, shards, single examples, and the input rows behind them."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import DataError
from curate.store.connection import arrow_reader, literal
from curate.store.handle import StoreHandle
from curate.store.ids import id_bytes
from curate.store.parts import read_parquet
from curate.store.pool.raw import records_at
from curate.store.records import Dataset, Shard
from curate.store.results.selection_names import internal
from curate.store.schema import (
    meta,
    refresh_score_views,
    scalar,
    set_meta,
    set_shapes,
    shard_path,
)
from curate.store.scores import names as set_names

MIN_PREFIX = 6


def skipped_positions(store: StoreHandle, dataset_id: str) -> list[int]:
    """Return the positions of an input's rows that could not be read and were left out."""
    path = store.parts / "skipped" / f"{dataset_id}.parquet"
    if not path.exists():
        return []
    positions: list[int] = pq.read_table(path, columns=["position"])["position"].to_pylist()
    return positions


def datasets(store: StoreHandle) -> list[Dataset]:
    """Return the ingested datasets in the order of ingestion."""
    with store.connect() as con:
        rows = con.execute("select manifest from internal.datasets order by ordinal").fetchall()
    return [Dataset.from_json(manifest) for (manifest,) in rows]


def membership(names: Sequence[str] | None) -> str:
    """Return an SQL condition on ``internal.examples e``: it occurs in one of these datasets."""
    if names is None:
        return "true"
    listed = ", ".join(literal(name) for name in names) or "null"
    return (
        f"(e.dataset in ({listed}) or e.id in "
        f"(select id from internal.also_in where dataset in ({listed})))"
    )


def shards(store: StoreHandle, names: Sequence[str] | None) -> list[Shard]:
    """Return the shards in order: all, or those with an example of the named datasets."""
    narrowed = (
        ""
        if names is None
        else "where shard_id in "
        f"(select e.shard from internal.examples e where {membership(names)})"
    )
    with store.connect() as con:
        check_datasets(con, names)
        rows = con.execute(
            f"""select shard_id, dataset, n_examples from internal.shards {narrowed}
            order by dataset_ordinal, ordinal"""
        ).fetchall()
    return [Shard(i, d, shard_path(store.parts, d, i), n) for i, d, n in rows]


def check_datasets(con: duckdb.DuckDBPyConnection, names: Sequence[str] | None) -> None:
    """Raise `DataError` when one of the names is not an ingested dataset."""
    if names is None:
        return
    known = [d for (d,) in con.execute("select dataset_id from internal.datasets").fetchall()]
    for name in names:
        if name not in known:
            raise DataError(
                f"no dataset {name!r} in the store; it has: {', '.join(known) or 'none'}"
            )


def n_examples(store: StoreHandle, names: Sequence[str] | None) -> int:
    """Return the number of distinct examples of the pool or of some datasets."""
    with store.connect() as con:
        check_datasets(con, names)
        return scalar(con, f"select count(*) from internal.examples e where {membership(names)}")


def pool_hash(store: StoreHandle) -> str:
    """Return the hash of all example ids, in order of id."""
    with store.connect() as con:
        known = meta(con, "pool_hash")
        version = meta(con, "pool_version")
        if known is not None:
            return known
        hasher = hashlib.blake2b(digest_size=16)
        ids = con.sql("select id from internal.examples order by id")
        with arrow_reader(ids, 262_144) as reader:
            for batch in reader:
                hasher.update(id_bytes(batch.column(0)).tobytes())
    if store.is_read_only:
        return hasher.hexdigest()
    with store.write() as con:
        if meta(con, "pool_version") != version:
            return pool_hash(store)
        set_meta(con, "pool_hash", hasher.hexdigest())
        refresh_score_views(con, store.parts)
    return hasher.hexdigest()


def resolve_ids(store: StoreHandle, names: Sequence[str]) -> list[str]:
    """Return the example id of each name (see `Store.example`), in the same order."""
    if not names:
        return []
    table = pa.table({"name": pa.array(list(names), pa.string())})
    with store.connect() as con:
        con.register("asked", table)
        exact = {
            i
            for (i,) in con.execute(
                "select distinct e.id from internal.examples e join asked a on a.name = e.id"
            ).fetchall()
        }
        others = [name for name in dict.fromkeys(names) if name not in exact]
        resolved = {name: _resolve(con, name) for name in others}
    return [resolved.get(name, name) for name in names]


def _resolve(con: duckdb.DuckDBPyConnection, name: str) -> str:
    by_external = con.execute(
        "select distinct id from rows where external_id = ? order by id limit 4", [name]
    ).fetchall()
    matching = [i for (i,) in by_external]
    kind = "input id"
    if not matching and len(name) >= MIN_PREFIX:
        kind = "id prefix"
        matching = [
            i
            for (i,) in con.execute(
                "select id from internal.examples where starts_with(id, ?) order by id limit 4",
                [name.lower()],
            ).fetchall()
        ]
    if not matching:
        raise DataError(
            f"no example {name!r} in the store; give an id, a prefix of at least {MIN_PREFIX} "
            "characters, or its id in the input data"
        )
    if len(matching) > 1:
        shown = ", ".join(matching[:3]) + (", ..." if len(matching) > 3 else "")
        raise DataError(f"{kind} {name!r} names several examples ({shown}); give one of these ids")
    return str(matching[0])


def example(store: StoreHandle, name: str) -> dict[str, Any]:
    """Return everything about one example."""
    example_id, places = name, _places(store, name)
    if not places:
        example_id = resolve_ids(store, [name])[0]
        places = _places(store, example_id)
    shard, dataset, n_rows = places[0]
    with store.connect() as con:
        rows = con.execute(
            """select r.dataset, r.position, r.external_id, r.source from rows r
            join internal.datasets d on d.dataset_id = r.dataset
            where r.id = ? order by d.ordinal, r.position""",
            [example_id],
        ).fetchall()
        scores = _scores(con, example_id)
        failed = con.execute(
            """select f.set_id, s.alias, f.reason from failures f
            join internal.score_sets s on s.set_id = f.set_id where f.id = ? order by s.ordinal""",
            [example_id],
        ).fetchall()
        chosen = con.execute(
            """select r.selection_id, s.method, r.rank, r.gain, r.weight, r.reason
            from selection_rows r join selections s using (selection_id) where r.id = ?
            order by r.selection_id""",
            [example_id],
        ).fetchall()
        hidden = internal(con, store.parts)
    path = shard_path(store.parts, dataset, shard)
    table = read_parquet(path)
    text = table.filter(pc.equal(table["id"], example_id)).to_pylist()[0]
    return {
        **text,
        "messages": json.loads(text["messages"]),
        "tools": None if text["tools"] is None else json.loads(text["tools"]),
        "n_rows": n_rows,
        "dataset": dataset,
        "shard_id": shard,
        "shard_path": str(path),
        "rows": [
            dict(zip(("dataset", "position", "external_id", "source"), r, strict=True))
            for r in rows
        ],
        "scores": scores,
        "failures": [dict(zip(("set_id", "alias", "reason"), f, strict=True)) for f in failed],
        "selections": [
            {
                **dict(
                    zip(
                        ("selection_id", "method", "rank", "gain", "weight", "reason"),
                        s,
                        strict=True,
                    )
                ),
                "internal": s[0] in hidden,
            }
            for s in chosen
        ],
    }


def _places(store: StoreHandle, example_id: str) -> list[tuple[Any, ...]]:
    """Return shard, dataset and number of rows of an example; nothing if there is none."""
    with store.connect() as con:
        return con.execute(
            "select shard, dataset, n_rows from internal.examples where id = ?", [example_id]
        ).fetchall()


def _scores(con: duckdb.DuckDBPyConnection, example_id: str) -> dict[str, dict[str, Any]]:
    """Return the scores of an example by name of the set, of those complete for the pool.

    Sets that share a name are there as ``alias@id``.
    """
    complete = [shape for shape in set_shapes(con) if shape.complete]
    scores = {}
    for name, shape in set_names.distinct(complete).items():
        rows = (
            con.sql(
                f"select * exclude (id) from score_set({literal(shape.set_id)}) "
                f"where id = {literal(example_id)}"
            )
            .to_arrow_table()
            .to_pylist()
        )
        if rows:
            scores[name] = rows[0]
    return scores


def first_rows(store: StoreHandle, ids: Sequence[str], *, duplicates: bool) -> pa.Table:
    """Return the rows of examples, in the order asked for."""
    asked = pa.table({"id": pa.array(list(ids), pa.string()), "asked": np.arange(len(ids))})
    kept = (
        ""
        if duplicates
        else "qualify row_number() over (partition by a.asked order by d.ordinal, r.position) = 1"
    )
    with store.connect() as con:
        con.register("asked", asked)
        rows: pa.Table = con.sql(
            f"""select r.id, r.dataset, r.position from rows r
            join asked a on a.id = r.id join internal.datasets d on d.dataset_id = r.dataset
            {kept} order by a.asked, d.ordinal, r.position"""
        ).to_arrow_table()
    missing = pc.is_in(asked["id"], value_set=rows["id"].combine_chunks())
    if not pc.all(missing).as_py() and len(ids):
        first = asked.filter(pc.invert(missing))["id"][0].as_py()
        raise DataError(f"no example {first!r} in the store; it may have been forgotten")
    return rows


def raw_records(store: StoreHandle, dataset: str, positions: Sequence[int]) -> pa.Table:
    """Return input rows unchanged, reading only the row groups that hold them."""
    with store.connect() as con:
        check_datasets(con, [dataset])
    return records_at(store.parts, dataset, positions)
