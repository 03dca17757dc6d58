"""Score sets: creates them, commits parts, and verifies what they hold."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ScoreError, StoreError
from curate.store import inventory, schema
from curate.store.connection import identifier
from curate.store.handle import StoreHandle
from curate.store.parts import (
    column_dtypes,
    part_metadata,
    read_json,
    remove_stale_temporaries,
    write_json,
)
from curate.store.pool import examples
from curate.store.records import (
    POOL_INPUT,
    ScoreKey,
    ScoreSet,
    ScoreSetStatus,
    Shard,
    canonical_json,
    utc_now,
)
from curate.store.scores import hashing, names, outdated, shard_runs
from curate.store.sealed import DamagedPart, PartDamageError, open_sealed

SHARDS_AT_ONCE = 64  # parts held in memory together by the committer

_SQL_TYPES = {
    "float": "double", "int": "bigint", "bool": "boolean", "text": "varchar",
    "floats": "float[]", "ints": "integer[]",
}  # fmt: skip
_COLUMNS = (
    "set_id, alias, aliases, scorer, version, config, model, spec, key, run, created_at, columns, "
    "n_examples, n_failed, tokens, wall_s, device, content_hash"
)


def score_set(store: StoreHandle, key: ScoreKey, alias: str, run: Mapping[str, Any]) -> ScoreSet:
    """Find the score set with this key, or create it."""
    existing = find_score_set(store, key.set_id)
    if existing is not None and alias in existing.aliases:
        return existing
    with store.write() as con:
        existing = _find(store, con, key.set_id)
        if existing is not None and alias in existing.aliases:  # added by another process meanwhile
            return existing
        taken = con.execute("select unnest(aliases) from internal.score_sets").fetchall()
        names.refuse_same_but_case(alias, [name for (name,) in taken])
        if existing is None:
            record = _new_record(key, alias, run)
        else:
            record = _record(existing, (*existing.aliases, alias))
        register(con, record)
        if existing is not None:
            schema.refresh_score_views(con, store.parts)
        record["ordinal"] = schema.scalar(
            con, "select ordinal from internal.score_sets where set_id = ?", [key.set_id]
        )
        write_json(store.parts / "scores" / key.set_id / "set.json", record)
        created = _find(store, con, key.set_id)
    assert created is not None
    return created


def register(con: duckdb.DuckDBPyConnection, record: Mapping[str, Any]) -> None:
    """Write a score set's record (the content of its ``set.json``) into the database."""
    key = ScoreKey.from_json(canonical_json(record["key"]))
    set_id = key.set_id
    aliases = list(record["aliases"])
    if schema.scalar(con, "select count(*) from internal.score_sets where set_id = ?", [set_id]):
        con.execute(
            "update internal.score_sets set aliases = ? where set_id = ?", [aliases, set_id]
        )
        return
    ordinal = schema.scalar(con, "select coalesce(max(ordinal), 0) + 1 from internal.score_sets")
    model = key.model if isinstance(key.model, str | None) else canonical_json(key.model)
    spec = canonical_json({"key": record["key"], "run": record["run"]})
    con.execute(
        """insert into internal.score_sets values
        (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}', 0, 0, 0, 0, '', null)""",
        [
            set_id, ordinal, aliases[0], aliases, key.scorer, key.version,
            canonical_json(key.config), model, spec, key.to_json(),
            canonical_json(record["run"]), record["created_at"],
        ],
    )  # fmt: skip


def find_score_set(store: StoreHandle, set_id: str) -> ScoreSet | None:
    """Return a score set by id, or None."""
    with store.connect() as con:
        return _find(store, con, set_id)


def statuses(store: StoreHandle) -> list[ScoreSetStatus]:
    """Return every score set, oldest first."""
    with store.held():
        with store.connect() as con:
            sql = f"select {_COLUMNS} from internal.score_sets order by ordinal"
            rows = con.execute(sql).fetchall()
            covers_all = schema.coverage(con) if rows else {}
            is_empty = not covers_all and not schema.n_shards(con)
        pooled = any(json.loads(row[8])["inputs"].get(POOL_INPUT) for row in rows)
        pool_hash = examples.pool_hash(store) if pooled else None
    return [_status(row, pool_hash, covers_all.get(row[0], is_empty)) for row in rows]


def pending_shards(
    store: StoreHandle, score_set: ScoreSet, shards: Sequence[Shard]
) -> tuple[list[Shard], list[Shard]]:
    """Return the shards not committed yet: (without a part file, with one)."""
    with store.connect() as con:
        done = _committed(con, score_set.set_id)
    missing = [s for s in shards if s.shard_id not in done]
    written = {path.stem for path in score_set.folder.glob("*.parquet")}
    without = [s for s in missing if s.shard_id not in written]
    return without, [s for s in missing if s.shard_id in written]


def commit_parts(
    store: StoreHandle,
    score_set: ScoreSet,
    shard_ids: Sequence[str],
    damaged: list[DamagedPart] | None = None,
) -> None:
    """Commit finished parts in one transaction; remove those that are damaged."""
    if not shard_ids:
        return
    with store.write() as con:
        found = commit_in(con, store.parts, score_set, shard_ids)
    for part in found:
        part.path.unlink(missing_ok=True)
        if damaged is None:
            raise StoreError(f"{part}; run the same command again")
        damaged.append(part)


def commit_in(
    con: duckdb.DuckDBPyConnection, parts: Path, score_set: ScoreSet, shard_ids: Sequence[str]
) -> list[DamagedPart]:
    """Commit parts inside the caller's transaction; return those that are damaged or missing."""
    done = _committed(con, score_set.set_id)
    new = [shard_id for shard_id in dict.fromkeys(shard_ids) if shard_id not in done]
    new = outdated.current(con, score_set.folder, new)
    damaged: list[DamagedPart] = []
    for start in range(0, len(new), SHARDS_AT_ONCE):
        damaged += _commit_batch(con, score_set, new[start : start + SHARDS_AT_ONCE])
    if len(new) > len(damaged) and (not done or _is_complete(con, score_set.set_id)):
        schema.refresh_score_views(con, parts)
    return damaged


def finish(store: StoreHandle, score_set: ScoreSet) -> ScoreSetStatus:
    """Recompute the counts and the content hash of a score set from what is committed.

    Half-written parts of killed processes, since completed under other names, are removed.
    """
    content_hash = hashing.content_hash(store, score_set)
    remove_stale_temporaries(score_set.folder)
    with store.held():
        _record_totals(store, score_set.set_id, content_hash)
        return next(s for s in statuses(store) if s.set_id == score_set.set_id)


def unfinished(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Return the score sets with committed parts that `finish` has not counted: a process was killed."""
    rows = con.execute(
        """select set_id from internal.score_sets s
        where n_examples <> (select coalesce(sum(t.n_examples), 0) from internal.set_shards t
            where t.set_id = s.set_id)"""
    ).fetchall()
    return {set_id for (set_id,) in rows}


def _record_totals(store: StoreHandle, set_id: str, content_hash: str) -> None:
    with store.write() as con:
        con.execute(
            """update internal.score_sets s set
                n_examples = t.n_examples, n_failed = t.n_failed, tokens = t.tokens,
                wall_s = t.wall_s, device = t.device, content_hash = ?
            from (select coalesce(sum(n_examples), 0) as n_examples,
                    coalesce(sum(n_failed), 0) as n_failed, coalesce(sum(tokens), 0) as tokens,
                    coalesce(sum(wall_s), 0) as wall_s,
                    coalesce(string_agg(distinct device, ',' order by device), '') as device
                from internal.set_shards where set_id = ?) t
            where s.set_id = ?""",
            [content_hash, set_id, set_id],
        )


def _commit_batch(
    con: duckdb.DuckDBPyConnection, score_set: ScoreSet, asked_for: Sequence[str]
) -> list[DamagedPart]:
    shard_ids: list[str] = []
    tables, facts = [], []
    damaged: list[DamagedPart] = []
    dtypes: dict[str, str] = {}
    for shard_id in asked_for:
        try:
            file = open_sealed(score_set.part(shard_id))
        except PartDamageError as damage:
            damaged.append(DamagedPart(shard_id, score_set.part(shard_id), damage.why))
            continue
        dtypes = column_dtypes(file.schema_arrow)
        names = [name for name, dtype in dtypes.items() if dtype != "vector"]
        table = file.read(columns=["id", *names, "failure"]).replace_schema_metadata()
        _check_finite(table, score_set, shard_id, dtypes)
        numbers = pa.repeat(pa.scalar(len(shard_ids), pa.int32()), table.num_rows)
        shard_ids.append(shard_id)
        facts.append(part_metadata(file.schema_arrow))
        tables.append(table.append_column("part_number", numbers))
    if not shard_ids:
        return damaged
    con.register("part", pa.concat_tables(tables, promote_options="permissive"))
    asked = pa.array(list(shard_ids), pa.string())
    con.register("asked", pa.table({"shard": asked, "part_number": range(len(shard_ids))}))
    con.execute(
        """create or replace temp table matched as select e.row, part.* from part
        join (select row, id, a.part_number from internal.examples
            join asked a on a.shard = examples.shard) e
        on e.id = part.id and e.part_number = part.part_number"""
    )
    _check_ids(con, score_set)
    _insert(con, score_set, dtypes)
    for name in ("part", "asked"):
        con.unregister(name)
    inventory.record(con, score_set.folder.parents[1], map(score_set.part, shard_ids))
    parts = zip(shard_ids, tables, facts, strict=True)
    shard_runs.record(
        con,
        score_set.set_id,
        [
            shard_runs.PartFacts(i, table.num_rows, table.num_rows - table["failure"].null_count, f)
            for i, table, f in parts
        ],
    )
    return damaged


def _insert(con: duckdb.DuckDBPyConnection, score_set: ScoreSet, dtypes: Mapping[str, str]) -> None:
    stored = {name: dtype for name, dtype in dtypes.items() if dtype != "vector"}
    table = f"internal.scalars_{score_set.set_id}"
    known = con.execute(
        "select columns from internal.score_sets where set_id = ?", [score_set.set_id]
    ).fetchall()[0]
    if known[0] == "{}":
        declared = "".join(f", {identifier(n)} {_SQL_TYPES[d]}" for n, d in stored.items())
        con.execute(f"create table {table} (row bigint{declared})")
        con.execute(
            "update internal.score_sets set columns = ? where set_id = ?",
            [json.dumps(dict(dtypes)), score_set.set_id],
        )
    elif json.loads(known[0]) != dict(dtypes):
        raise ScoreError(
            f"scorer {score_set.key.scorer!r} returned the columns {dict(dtypes)}, but its score "
            f"set {score_set.set_id} has {json.loads(known[0])}; nothing was written; "
            "raise the scorer's version"
        )
    columns = "".join(f", {identifier(name)}" for name in stored)
    con.execute(
        f"insert into {table} (row{columns}) select row{columns} from matched where failure is null"
    )
    con.execute(
        "insert into failures select id, ?, failure from matched where failure is not null",
        [score_set.set_id],
    )


def _check_ids(con: duckdb.DuckDBPyConnection, score_set: ScoreSet) -> None:
    wrong = con.execute(
        """select a.shard, coalesce(p.n, 0), coalesce(m.n, 0), coalesce(m.n_distinct, 0),
            s.n_examples
        from asked a
        left join internal.shards s on s.shard_id = a.shard
        left join (select part_number, count(*) as n from part group by all) p
            on p.part_number = a.part_number
        left join (select part_number, count(*) as n, count(distinct row) as n_distinct
            from matched group by all) m on m.part_number = a.part_number
        where s.n_examples is null or (not ? and coalesce(p.n, 0) <> s.n_examples)
            or coalesce(m.n_distinct, 0) <> coalesce(p.n, 0)
        order by a.shard limit 1""",
        [score_set.key.is_partial],
    ).fetchall()
    if not wrong:
        return
    shard_id, n, n_known, n_distinct, expected = wrong[0]
    scorer = f"shard {shard_id}: scorer {score_set.key.scorer!r} returned"
    if expected is None:
        raise ScoreError(f"shard {shard_id} is not in the pool; nothing was written")
    if n != expected and not score_set.key.is_partial:
        raise ScoreError(f"{scorer} {n} rows for {expected} examples; nothing was written")
    raise ScoreError(
        f"{scorer} {n} rows, of which {n_known - n_distinct} repeat an id and {n - n_known} have "
        f"an id that is not in the shard; nothing was written"
    )


def _check_finite(
    table: pa.Table, score_set: ScoreSet, shard_id: str, dtypes: Mapping[str, str]
) -> None:
    for name, dtype in dtypes.items():
        if dtype != "float":
            continue
        bad = pc.and_(
            pc.is_null(table["failure"]),
            pc.fill_null(pc.invert(pc.is_finite(table[name])), False),
        )
        n_bad = pc.sum(bad).as_py() or 0
        if n_bad:
            first = table["id"].filter(bad)[0].as_py()
            raise ScoreError(
                f"shard {shard_id}: scorer {score_set.key.scorer!r} returned {n_bad} values of "
                f"{name!r} that are not finite and not marked as failures, the first for example "
                f"{first}; nothing was written"
            )


def _committed(con: duckdb.DuckDBPyConnection, set_id: str) -> set[str]:
    return {
        shard
        for (shard,) in con.execute(
            "select shard from internal.set_shards where set_id = ?", [set_id]
        ).fetchall()
    }


def _is_complete(con: duckdb.DuckDBPyConnection, set_id: str) -> bool:
    return schema.coverage(con).get(set_id, False)


def _new_record(key: ScoreKey, alias: str, run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "set_id": key.set_id,
        "aliases": [alias],
        "key": json.loads(key.to_json()),
        "run": dict(run),
        "created_at": utc_now(),
    }


def _record(existing: ScoreSet, aliases: Sequence[str]) -> dict[str, Any]:
    record = dict(read_json(existing.folder / "set.json"))
    record["aliases"] = list(aliases)
    return record


def _find(store: StoreHandle, con: duckdb.DuckDBPyConnection, set_id: str) -> ScoreSet | None:
    rows = con.execute(
        "select alias, key, run, created_at, aliases from internal.score_sets where set_id = ?",
        [set_id],
    ).fetchall()
    if not rows:
        return None
    row = rows[0]
    folder = store.parts / "scores" / set_id
    return ScoreSet(
        set_id, row[0], ScoreKey.from_json(row[1]), json.loads(row[2]), folder, row[3],
        tuple(row[4]),
    )  # fmt: skip


def _status(row: Sequence[Any], pool_hash: str | None, covers_all: bool) -> ScoreSetStatus:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    key = ScoreKey.from_json(values.pop("key"))
    values.pop("run")
    seen = key.inputs.get(POOL_INPUT)
    stale = seen is not None and seen != pool_hash
    return ScoreSetStatus(
        **{
            **values,
            "aliases": tuple(values["aliases"]),
            "config": key.config,
            "model": key.model,
            "spec": json.loads(values["spec"]),
            "columns": json.loads(values["columns"]),
            "complete": covers_all and not stale and not key.is_partial,
            "stale": stale,
            "partial": key.is_partial,
        }
    )
