"""Score sets: creates them, has parts committed, and counts what they hold."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import StoreError
from curate.store import schema
from curate.store.handle import StoreHandle
from curate.store.parts import read_json, remove_stale_temporaries, write_json
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
from curate.store.scores import committing, hashing, names, outdated
from curate.store.sealed import DamagedPart

SHARDS_AT_ONCE = 64  # parts held in memory together by the committer

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
        damaged += committing.commit_batch(con, score_set, new[start : start + SHARDS_AT_ONCE])
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
