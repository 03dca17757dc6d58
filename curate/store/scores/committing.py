"""Commits parts: verifies that they hold their shards' examples, and puts their values into the database."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ScoreError
from curate.store import inventory
from curate.store.connection import identifier, literal
from curate.store.parts import column_dtypes, part_metadata
from curate.store.records import ScoreSet
from curate.store.scores import shard_runs
from curate.store.sealed import DamagedPart, PartDamageError, load_sealed

READERS: Final = 2  # threads that read parts: hashing and decompression leave the interpreter free

_SQL_TYPES: Final = {
    "float": "double", "int": "bigint", "bool": "boolean", "text": "varchar",
    "floats": "float[]", "ints": "integer[]",
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class _Part:
    """A part read for its commit: its values but vectors, and what is written down of it."""

    shard_id: str
    table: pa.Table
    dtypes: Mapping[str, str]
    metadata: Mapping[str, Any]
    file: inventory.FileFacts

    @property
    def facts(self) -> shard_runs.PartFacts:
        n_failed = len(self.table) - self.table["failure"].null_count
        return shard_runs.PartFacts(self.shard_id, len(self.table), n_failed, self.metadata)


def commit_batch(
    con: duckdb.DuckDBPyConnection, score_set: ScoreSet, shard_ids: Sequence[str]
) -> list[DamagedPart]:
    """Commit some parts inside the caller's transaction; return those that are damaged or missing.

    All of them are in memory together, without their vectors.

    Raises `ScoreError` for a part with other examples than its shard, or a value that is not finite.
    """
    with ThreadPoolExecutor(READERS) as readers:
        found = list(readers.map(partial(_read, score_set), shard_ids))
    parts = [part for part in found if isinstance(part, _Part)]
    if parts:
        for part in parts:
            _check_finite(part, score_set)
        matched = _in_pool_order(con, parts)
        if matched is None:
            matched = _joined(con, score_set, parts)
        _insert(con, score_set, parts[-1].dtypes, matched)
        inventory.record_facts(con, [part.file for part in parts])
        shard_runs.record(con, score_set.set_id, [part.facts for part in parts])
    return [part for part in found if isinstance(part, DamagedPart)]


def _read(score_set: ScoreSet, shard_id: str) -> _Part | DamagedPart:
    path = score_set.part(shard_id)
    try:
        file, data = load_sealed(path)
    except PartDamageError as damage:
        return DamagedPart(shard_id, path, damage.why)
    schema = file.schema_arrow
    dtypes = column_dtypes(schema)
    names = [name for name, dtype in dtypes.items() if dtype != "vector"]
    table = file.read(columns=["id", *names, "failure"]).replace_schema_metadata()
    facts = inventory.facts_of(score_set.folder.parents[1], path, data)
    return _Part(shard_id, table, dtypes, part_metadata(schema), facts)


def _in_pool_order(con: duckdb.DuckDBPyConnection, parts: Sequence[_Part]) -> pa.Table | None:
    """Return the values with their rows where every part has its shard's examples in their order.

    So it is with what the passes write, and comparing is cheaper than a join.
    """
    tables = {part.shard_id: part.table for part in parts}
    listed = ", ".join(map(literal, tables))
    stored = con.sql(
        f"select row, id, shard from internal.examples where shard in ({listed}) order by row"
    ).to_arrow_table()
    shards = stored["shard"].combine_chunks().dictionary_encode()
    order = shards.dictionary.to_pylist()
    if set(order) != set(tables):
        return None
    given = _concatenated([tables[shard_id] for shard_id in order])
    numbers = np.repeat(np.arange(len(order)), [len(tables[shard_id]) for shard_id in order])
    if not np.array_equal(numbers, shards.indices) or not given["id"].equals(stored["id"]):
        return None
    return given.append_column("row", stored["row"])


def _joined(
    con: duckdb.DuckDBPyConnection, score_set: ScoreSet, parts: Sequence[_Part]
) -> pa.Table:
    """Return the values with their rows, found by id; `ScoreError` for a part with other ids."""
    numbered = [
        part.table.append_column(
            "part_number", pa.repeat(pa.scalar(number, pa.int32()), len(part.table))
        )
        for number, part in enumerate(parts)
    ]
    con.register("part", _concatenated(numbered))
    asked = pa.array([part.shard_id for part in parts], pa.string())
    con.register("asked", pa.table({"shard": asked, "part_number": range(len(parts))}))
    matched = con.sql(
        """select e.row, part.* from part
        join (select row, id, a.part_number from internal.examples
            join asked a on a.shard = examples.shard) e
        on e.id = part.id and e.part_number = part.part_number"""
    ).to_arrow_table()
    con.register("matched", matched)
    _check_ids(con, score_set)
    for name in ("part", "asked", "matched"):
        con.unregister(name)
    return matched


def _concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="permissive")


def _insert(
    con: duckdb.DuckDBPyConnection,
    score_set: ScoreSet,
    dtypes: Mapping[str, str],
    matched: pa.Table,
) -> None:
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
    con.register("matched", matched)
    con.execute(
        f"insert into {table} (row{columns}) select row{columns} from matched where failure is null"
    )
    con.execute(
        "insert into failures select id, ?, failure from matched where failure is not null",
        [score_set.set_id],
    )
    con.unregister("matched")


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


def _check_finite(part: _Part, score_set: ScoreSet) -> None:
    for name, dtype in part.dtypes.items():
        if dtype != "float":
            continue
        bad = pc.and_(
            pc.is_null(part.table["failure"]),
            pc.fill_null(pc.invert(pc.is_finite(part.table[name])), False),
        )
        n_bad = pc.sum(bad).as_py() or 0
        if n_bad:
            first = part.table["id"].filter(bad)[0].as_py()
            raise ScoreError(
                f"shard {part.shard_id}: scorer {score_set.key.scorer!r} returned {n_bad} values of "
                f"{name!r} that are not finite and not marked as failures, the first for example "
                f"{first}; nothing was written"
            )
