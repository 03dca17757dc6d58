"""The tables inside the DuckDB file, and the documented relations over them and the parts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from curate.store.connection import identifier, literal
from curate.store.records import PART_INPUT, POOL_INPUT
from curate.store.scores.shard_runs import TABLE as SHARD_RUNS
from curate.store.targets import TABLE as TARGETS

SCHEMA_VERSION: Final = 1
VIEWS: Final = "files"  # how views name what they read: every file, where it was once a pattern
_STORED: Final = "internal.set_"  # before the id of a score set: its relation
_RELOCATED: Final = "relocated_set_"

TABLES: Final[tuple[str, ...]] = (
    "create schema internal",
    "create table internal.meta (key varchar primary key, value varchar)",
    """create table internal.datasets (
        dataset_id varchar primary key, ordinal bigint, content_hash varchar, manifest varchar)""",
    """create table internal.shards (
        shard_id varchar, dataset varchar, dataset_ordinal bigint, ordinal bigint,
        n_examples bigint)""",
    # row: a number for joins; the scalar columns of score sets are stored under it
    """create table internal.examples (
        row bigint, id varchar, shard varchar, dataset varchar, source varchar, group_id varchar,
        n_rows bigint, n_chars bigint)""",
    # an example that also occurs in a dataset other than the one it came with
    "create table internal.also_in (id varchar, dataset varchar)",
    """create table internal.score_sets (
        set_id varchar primary key, ordinal bigint, alias varchar, aliases varchar[],
        scorer varchar, version bigint, config varchar, model varchar, spec varchar,
        key varchar, run varchar, created_at varchar, columns varchar,
        n_examples bigint, n_failed bigint, tokens bigint, wall_s double,
        device varchar, content_hash varchar)""",
    """create table internal.set_shards (
        set_id varchar, shard varchar, n_examples bigint, n_failed bigint, tokens bigint,
        wall_s double, device varchar)""",
    "create table failures (id varchar, set_id varchar, reason varchar)",
    """create table selections (
        selection_id varchar, method varchar, config varchar, budget varchar, seed bigint,
        counts varchar, created_at varchar, manifest varchar)""",
    """create table selection_rows (
        selection_id varchar, id varchar, rank bigint, gain double, weight double,
        reason varchar)""",
    """create table revisions (
        id varchar, parent_id varchar, selection_id varchar, confidence double)""",
    """create table trials (
        trial_id varchar, selection_id varchar, method varchar, budget varchar, seed bigint,
        model varchar, config varchar, status varchar, created_at varchar, tokens bigint,
        wall_s double, manifest varchar)""",
    """create table trial_evals (
        trial_id varchar, step bigint, tokens bigint, target varchar, metric varchar,
        value double)""",
    TARGETS,  # a store of before there were target sets gets it with its first one
    SHARD_RUNS,
    """create view score_sets as
        select set_id, alias, scorer, version, config, model, spec, created_at, n_examples,
            n_failed, tokens, wall_s, device, content_hash
        from internal.score_sets order by ordinal""",
    "create macro score_set(set_id) as table select * from query_table('internal.set_' || set_id)",
)  # fmt: skip

EXAMPLE_COLUMNS: Final = (
    "id", "group_id", "source", "messages", "tools", "prompt", "response", "n_chars",
)  # fmt: skip


def empty_relations() -> tuple[str, ...]:
    """Return the statements that make the tables and relations of an empty store."""
    return (*TABLES, *_pool_views(Path(), (), ()), *_score_views(Path(), (), ()))


def first_facts(parts: Path, created_at: str) -> tuple[str, ...]:
    """Return the statement that writes what is known of a new store."""
    facts = {
        "schema_version": str(SCHEMA_VERSION),
        "created_at": created_at,
        "parts": str(parts),
        "pool_version": "0",
        "views": VIEWS,
    }
    rows = ", ".join(f"({literal(key)}, {literal(value)})" for key, value in facts.items())
    return (f"insert into internal.meta values {rows}",)


@dataclass(frozen=True, slots=True)
class SetShape:
    """What the views need to know about a score set; ``columns`` maps names to scorer dtypes.

    ``partial``: it holds a part of the pool only, and is never complete.
    """

    set_id: str
    aliases: tuple[str, ...]
    columns: Mapping[str, str]
    complete: bool
    partial: bool

    @property
    def table(self) -> str:
        """Name of the table of its scalar columns by ``row``: the examples without a failure."""
        return f"internal.scalars_{self.set_id}"

    @property
    def vectors(self) -> tuple[str, ...]:
        """Names of the columns that stay in Parquet."""
        return tuple(name for name, dtype in self.columns.items() if dtype == "vector")


def refresh_views(connection: duckdb.DuckDBPyConnection, parts: Path) -> None:
    """Redefine the documented relations after datasets, score sets or the folder changed."""
    datasets = _names(connection, "select dataset_id from internal.datasets order by ordinal")
    for statement in _pool_views(parts, datasets, pool_files(connection, parts)):
        connection.execute(statement)
    refresh_score_views(connection, parts)


def relocate_views(connection: duckdb.DuckDBPyConnection, parts: Path) -> None:
    """Put temporary relations before the documented ones, which name files at another place.

    Where one store is seen under two paths, as in a container and outside, neither rewrites what the
    other reads; on read-only media nothing can be rewritten.
    """
    datasets = _names(connection, "select dataset_id from internal.datasets order by ordinal")
    shapes = set_shapes(connection)
    statements = [
        *_pool_views(parts, datasets, pool_files(connection, parts)),
        *_score_views(parts, shapes, tuple(_newest(shapes).items()), prefix=_RELOCATED),
    ]
    for statement in statements:
        connection.execute(statement.replace("create or replace view", "create temp view", 1))
    connection.execute(
        "create temp macro score_set(set_id) as table "
        f"select * from query_table('{_RELOCATED}' || set_id)"
    )


def refresh_score_views(connection: duckdb.DuckDBPyConnection, parts: Path) -> None:
    """Redefine ``scores``, ``vectors`` and the relation of each score set."""
    shapes = set_shapes(connection)
    newest = tuple(_newest(shapes).items())
    for statement in _score_views(parts, shapes, newest):
        connection.execute(statement)


def set_shapes(connection: duckdb.DuckDBPyConnection) -> tuple[SetShape, ...]:
    """Return every score set that has committed parts, oldest first."""
    covers_all = coverage(connection)
    if not covers_all:
        return ()
    rows = connection.execute(
        "select set_id, aliases, columns, key from internal.score_sets order by ordinal"
    ).fetchall()
    pool_hash = meta(connection, "pool_hash")
    shapes = []
    for set_id, aliases, columns, key in rows:
        if set_id not in covers_all:
            continue
        inputs = json.loads(key)["inputs"]
        partial = PART_INPUT in inputs
        fresh = inputs.get(POOL_INPUT, pool_hash) == pool_hash
        complete = fresh and not partial and covers_all[set_id]
        shapes.append(SetShape(set_id, tuple(aliases), json.loads(columns), complete, partial))
    return tuple(shapes)


def coverage(connection: duckdb.DuckDBPyConnection) -> dict[str, bool]:
    """Return whether every shard is committed, of each score set that has committed parts.

    Two queries of one table each are planned in half the time of one that joins them.
    """
    counts = connection.execute(
        "select set_id, count(*) from internal.set_shards group by set_id"
    ).fetchall()
    n = n_shards(connection) if counts else 0
    return {set_id: n_committed == n for set_id, n_committed in counts}


def n_shards(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of shards of the pool."""
    return scalar(connection, "select count(*) from internal.shards")


def meta(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """Return one fact about the store, or None."""
    rows = connection.execute("select value from internal.meta where key = ?", [key]).fetchall()
    return str(rows[0][0]) if rows else None


def is_elsewhere(connection: duckdb.DuckDBPyConnection, parts: Path) -> bool:
    """Whether the stored relations name files at another place, or in the way they once did."""
    try:
        facts = dict(connection.execute("select key, value from internal.meta").fetchall())
    except (duckdb.CatalogException, duckdb.InvalidInputException):
        return False  # not a store, which whoever opened it will say
    return facts.get("parts") != str(parts) or facts.get("views") != VIEWS


def set_meta(connection: duckdb.DuckDBPyConnection, key: str, value: str | None) -> None:
    """Write one fact about the store; None removes it."""
    connection.execute("delete from internal.meta where key = ?", [key])
    if value is not None:
        connection.execute("insert into internal.meta values (?, ?)", [key, value])


def scalar(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object] = ()) -> int:
    """Return the one whole number a query yields; 0 for null."""
    rows = connection.execute(sql, list(values)).fetchall()
    return 0 if not rows or rows[0][0] is None else int(rows[0][0])


def shard_path(parts: Path, dataset: str, shard_id: str) -> Path:
    """Return the Parquet file of a shard of the pool."""
    return parts / "examples" / dataset / f"shard-{shard_id.rpartition('-')[2]}.parquet"


def pool_files(connection: duckdb.DuckDBPyConnection, parts: Path) -> list[Path]:
    """Return the files with the texts of the pool, in order; all of them, there or not."""
    rows = connection.execute(
        "select dataset, shard_id from internal.shards order by dataset_ordinal, ordinal"
    ).fetchall()
    return [shard_path(parts, dataset, shard_id) for dataset, shard_id in rows]


def text_source(files: Sequence[Path]) -> str:
    """Return SQL for the shards in some files, with all their columns.

    Every file is named, so that one that is missing is an error and not a smaller pool.
    """
    if not files:
        columns = ", ".join(
            f"null::{'bigint' if name == 'n_chars' else 'varchar'} as {name}"
            for name in EXAMPLE_COLUMNS
        )
        return f"(select {columns} where false)"
    return f"read_parquet([{', '.join(literal(str(path)) for path in files)}])"


def part_source(parts: Path, set_id: str) -> str:
    """Return SQL for all parts of a score set."""
    return f"read_parquet({literal(str(parts / 'scores' / set_id / '*.parquet'))})"


def _newest(shapes: Sequence[SetShape]) -> dict[str, SetShape]:
    newest: dict[str, SetShape] = {}
    for shape in shapes:  # oldest first, so that the newest one stays
        if shape.complete:
            newest.update(dict.fromkeys(shape.aliases, shape))
    return newest


def _names(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [name for (name,) in connection.execute(sql).fetchall()]


def _pool_views(parts: Path, datasets: Sequence[str], files: Sequence[Path]) -> list[str]:
    examples = f"""create or replace view examples as
        select e.id, e.n_rows, e.source, e.group_id, p.messages, p.prompt, p.response, e.n_chars
        from internal.examples e join {text_source(files)} p on p.id = e.id"""
    columns = "position, id, external_id, source"
    selects = [
        f"select {literal(d)} as dataset, {columns} "
        f"from read_parquet({literal(str(parts / 'rows' / f'{d}.parquet'))})"
        for d in datasets
    ]
    none = (
        "select null::varchar as dataset, null::bigint as position, null::varchar as id, "
        "null::varchar as external_id, null::varchar as source where false"
    )
    return [examples, f"create or replace view rows as {' union all '.join(selects or [none])}"]


def _score_views(
    parts: Path,
    shapes: Sequence[SetShape],
    newest: Sequence[tuple[str, SetShape]],
    prefix: str = _STORED,
) -> list[str]:
    statements = [_set_view(parts, shape, prefix) for shape in shapes]
    vectors = [
        f"select {literal(shape.set_id)} as set_id, v.id, v.{identifier(name)} as vector "
        f"from {prefix}{shape.set_id} v"
        for shape in shapes
        for name in shape.vectors
    ] or [
        "select null::varchar as set_id, null::varchar as id, null::float[] as vector where false"
    ]
    structs, joins = [], []
    for number, (alias, shape) in enumerate(newest):
        fields = ", ".join(f"{identifier(c)} := s{number}.{identifier(c)}" for c in shape.columns)
        structs.append(
            f", case when s{number}.id is not null then struct_pack({fields}) end "
            f"as {identifier(alias)}"
        )
        joins.append(f" left join {prefix}{shape.set_id} s{number} on s{number}.id = e.id")
    statements.append(f"create or replace view vectors as {' union all '.join(vectors)}")
    statements.append(
        f"create or replace view scores as select e.id{''.join(structs)} "
        f"from internal.examples e{''.join(joins)}"
    )
    return statements


def _set_view(parts: Path, shape: SetShape, prefix: str) -> str:
    columns = "".join(
        f", {'p' if name in shape.vectors else 't'}.{identifier(name)}" for name in shape.columns
    )
    join = (
        f" left join {part_source(parts, shape.set_id)} p on p.id = e.id" if shape.vectors else ""
    )
    return (
        f"create or replace view {prefix}{shape.set_id} as "
        f"select e.id{columns} from {shape.table} t join internal.examples e on e.row = t.row{join}"
    )
