"""Builds a view: which examples are eligible, and their columns as arrays in order of id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.contracts.view import Vectors, View
from curate.errors import ExpressionError, MissingColumnError
from curate.store.connection import identifier, literal
from curate.store.expressions import Column, Kind, Parsed, parse
from curate.store.handle import StoreHandle
from curate.store.ids import Ids, Lookup, Rows
from curate.store.pool import examples
from curate.store.query import input_columns, mark_columns
from curate.store.query.pool_order import PoolOrder, pool_order
from curate.store.results import selection_names
from curate.store.schema import SetShape, pool_files, scalar, set_shapes, text_source
from curate.store.scores import names, vectors

NO_VALUE: Final = "no value"
NON_FINITE: Final = "non_finite"
NOT_SCORED: Final = "not scored"  # outside what a partial score set was to hold
EXAMPLE_KINDS: Final[Mapping[str, Kind]] = {
    "id": "text", "n_rows": "number", "source": "text", "group_id": "text", "n_chars": "number",
    "dataset": "text",
}  # fmt: skip
TEXT_COLUMNS: Final = ("messages", "prompt", "response")  # in Parquet: joined only when used

COLUMN_KINDS: Final[Mapping[str, Kind]] = {
    "float": "number", "int": "number", "bool": "bool", "text": "text",
}  # fmt: skip
_TOKENS: Final = "tokens"


@final
@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of `Store.view`."""

    bind: Mapping[str, str]
    expressions: Mapping[str, str]
    where: str | None
    datasets: Sequence[str] | None
    within: str | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    tokens_set: str | None
    max_examples: int | None
    named: Mapping[str, str] = field(default_factory=dict)


def view(store: StoreHandle, request: Request) -> View:
    """Return the eligible examples as arrays, sorted by id."""
    listed = {
        "included": examples.resolve_ids(store, request.include),
        "excluded": examples.resolve_ids(store, request.exclude),
    }
    with store.connect() as con:
        examples.check_datasets(con, request.datasets)
        known = names.all_aliases(con)
        parsed = {alias: parse(text, known) for alias, text in request.expressions.items()}
        where = None if request.where is None else parse(request.where, known)
        query = _Query(store, con, request, [*parsed.values(), *([where] if where else [])])
        for name, ids in listed.items():
            con.register(name, pa.table({"id": pa.array(ids, pa.string())}))
        within = request.within and selection_names.resolve(con, store.parts, request.within)
        query.materialise(parsed, where, within)
        excluded = dict(
            con.execute(
                """select excluded, count(*) from result where excluded is not null
                group by all order by all"""
            ).fetchall()
        )
        table = con.sql(
            "select * exclude (excluded) from result where excluded is null"
        ).to_arrow_table()
        n_pool = scalar(con, "select count(*) from result")
        pool_tokens = scalar(con, f"select sum({_TOKENS}) from result")
        pool = pool_order(store, con)
    places, rows = _in_order(pool, table["row"].to_numpy(), request.max_examples)
    if len(rows) < table.num_rows:
        excluded["over max_examples"] = table.num_rows - len(rows)
    arrays = _Arrays(store, table.combine_chunks(), rows, pool, places)
    return arrays.view(request, query.bound, parsed, n_pool, pool_tokens, excluded)


def _in_order(pool: PoolOrder, numbers: Rows, limit: int | None) -> tuple[Rows, Rows]:
    """Return the places of some row numbers in the pool, ascending, and where each number stands."""
    stands = np.full(len(pool), -1, dtype=np.int64)
    stands[pool.places[numbers]] = np.arange(len(numbers))
    places = np.flatnonzero(stands >= 0)[:limit]
    return places, stands[places]


@final
class _Query:
    """Builds the one SQL statement behind a view."""

    def __init__(
        self,
        store: StoreHandle,
        con: duckdb.DuckDBPyConnection,
        request: Request,
        parsed: Sequence[Parsed],
    ) -> None:
        self._store = store
        self._con = con
        self._request = request
        shapes = {shape.set_id: shape for shape in set_shapes(con)}
        self.bound = {alias: self._bound(alias, i, shapes) for alias, i in request.bind.items()}
        self._length = (
            None
            if request.tokens_set is None
            else self._bound("length", request.tokens_set, shapes)
        )
        named = {alias: self._bound(alias, i, shapes) for alias, i in request.named.items()}
        covered = [shape for shape in shapes.values() if self._covered(shape)]
        self._aliases: dict[str, SetShape] = {
            **names.distinct(covered), **named, **self.bound
        }  # fmt: skip
        self._joined: dict[str, str] = {}  # set id -> its name in the statement
        used = {name for p in parsed for name in p.columns}
        self._with_text = bool(used & set(TEXT_COLUMNS))
        required = [*self.bound.values(), *([self._length] if self._length else [])]
        self._required = list({shape.set_id: shape for shape in required}.values())
        self._with_failures = [shape for shape in self._required if self._n_failures(shape.set_id)]
        for shape in self._required:
            self._joined.setdefault(shape.set_id, f"b{len(self._joined)}")
        for alias in sorted({name.rpartition(".")[0] for name in used if "." in name}):
            if alias not in self._aliases and alias != input_columns.ROW:
                self._resolve(alias, covered)
            if alias in self._aliases:
                shape = self._aliases[alias]
                self._joined.setdefault(shape.set_id, f"b{len(self._joined)}")
        self._input = self._input_columns(sorted(used))
        self._available = self._columns() | self._input
        self._marks = self._mark_columns(sorted(used - self._available.keys()))
        self._available |= self._marks
        if used - self._available.keys():  # which is an error: let it know what names there are
            known = input_columns.known_names(store, con, request.datasets)
            known = [*known, *mark_columns.known_names(con)]
            self._available = {n: Column("null", "null") for n in known} | self._available

    def materialise(
        self, parsed: Mapping[str, Parsed], where: Parsed | None, within: str | None
    ) -> None:
        """Create the temporary table ``result``: every example, its columns, why it is excluded."""
        columns = ["e.row"]
        reasons = [f"when f{i}.reason is not null then f{i}.reason" for i in self._failure_names()]
        later = []
        for alias, shape in self.bound.items():
            name = self._joined[shape.set_id]
            if shape.partial:
                later.append(f"when {name}.row is null then {literal(NOT_SCORED)}")
            for column, dtype in shape.columns.items():
                if dtype != "vector":
                    sql = f"{name}.{identifier(column)}"
                    columns.append(f"{sql} as {identifier(f'{alias}.{column}')}")
                    if dtype != "text":
                        missing = f"when {sql} is null then {literal(NO_VALUE)}"
                        (later if shape.partial else reasons).append(missing)
        columns.append(f"{self._token_sql()} as {_TOKENS}")
        reasons += [*self._filters(where, within), *later]
        for alias, expression in parsed.items():
            compiled = expression.to_sql(self._available)
            columns.append(f"{compiled.sql} as {identifier(alias)}")
            reasons.append(f"when {compiled.sql} is null then {literal(NO_VALUE)}")
        case = f"case {' '.join(reasons)} end" if reasons else "null::varchar"
        self._con.execute(
            f"create or replace temp table result as select {', '.join(columns)}, "
            f"{case} as excluded {self._from()}"
        )

    def _filters(self, where: Parsed | None, within: str | None) -> list[str]:
        kept = "e.id not in (select id from included)" if self._request.include else "true"
        reasons = []
        if self._request.exclude:
            reasons.append("when e.id in (select id from excluded) then 'exclude'")
        if within is not None:
            chosen = f"select id from selection_rows where selection_id = {literal(within)}"
            reasons.append(f"when e.id not in ({chosen}) and {kept} then 'not in selection'")
        if where is not None:
            holds = condition_sql(where, self._available)
            reasons.append(f"when not {holds} and {kept} then 'where'")
        return reasons

    def _token_sql(self) -> str:
        if self._length is None:
            return "null::bigint"
        name = self._joined[self._length.set_id]
        return f"{name}.prompt_tokens + {name}.response_tokens"

    def _failure_names(self) -> range:
        return range(len(self._with_failures))

    def _n_failures(self, set_id: str) -> int:
        return scalar(self._con, "select count(*) from failures where set_id = ?", [set_id])

    def _from(self) -> str:
        joins = [
            f" left join internal.scalars_{set_id} {name} on {name}.row = e.row"
            for set_id, name in self._joined.items()
        ]
        joins += [
            f" left join (select id, reason from failures where set_id = {literal(shape.set_id)}) "
            f"f{i} on f{i}.id = e.id"
            for i, shape in enumerate(self._with_failures)
        ]
        if self._input:
            joins.append(" left join input_columns i on i.id = e.id")
        if self._marks:
            joins.append(" left join mark_columns k on k.id = e.id")
        if self._with_text:
            source = text_source(pool_files(self._con, self._store.parts))
            joins.append(
                f" join (select id, {', '.join(TEXT_COLUMNS)} from {source}) t on t.id = e.id"
            )
        condition = examples.membership(self._request.datasets)
        return f"from internal.examples e{''.join(joins)} where {condition}"

    def _input_columns(self, used: Sequence[str]) -> dict[str, Column]:
        """Register the values of the ``row.NAME`` that are used as ``input_columns``."""
        asked = [name for name in used if name.startswith(input_columns.PREFIX)]
        if not asked:
            return {}
        table, kinds = input_columns.read(self._store, self._con, asked, self._request.datasets)
        self._con.register("input_columns", table)
        return {name: Column(f"i.{identifier(name)}", kind) for name, kind in kinds.items()}

    def _mark_columns(self, used: Sequence[str]) -> dict[str, Column]:
        """Register the marks, labels and notes that are used as ``mark_columns``."""
        asked = mark_columns.asked(used)
        if not asked:
            return {}
        table, kinds = mark_columns.read(self._con, asked)
        self._con.register("mark_columns", table)
        return {
            name: Column(f"coalesce(k.{identifier(name)}, {mark_columns.default_sql(name)})", kind)
            for name, kind in kinds.items()
        }

    def _columns(self) -> dict[str, Column]:
        available = {name: Column(f"e.{name}", kind) for name, kind in EXAMPLE_KINDS.items()}
        available |= {name: Column(f"t.{name}", "text") for name in TEXT_COLUMNS}
        for alias, shape in self._aliases.items():
            name = self._joined.get(shape.set_id, "")
            for column, dtype in shape.columns.items():
                if dtype in COLUMN_KINDS:
                    sql = f"{name}.{identifier(column)}"
                    available[f"{alias}.{column}"] = Column(sql, COLUMN_KINDS[dtype])
        return available

    def _bound(self, alias: str, set_id: str, shapes: Mapping[str, SetShape]) -> SetShape:
        shape = shapes.get(set_id)
        missing = self._uncovered(set_id)
        if shape is None or missing:
            n = missing or "all"
            raise MissingColumnError(
                f"score set {set_id} ({alias}) lacks {n} of the examples; score them first: "
                f"curate score --scorer {alias}"
            )
        return shape

    def _resolve(self, name: str, covered: Sequence[SetShape]) -> None:
        """Add the one set that a name means, if there is one; raise `ConfigError` for several."""
        meant = names.preferred(names.of_name(name, covered))
        if len(meant) > 1:
            raise names.ambiguous(name, meant, names.specs_of(self._con))
        if meant:
            self._aliases[name] = meant[0]

    def _covered(self, shape: SetShape) -> bool:
        return not shape.partial and self._uncovered(shape.set_id) == 0

    def _uncovered(self, set_id: str) -> int:
        return scalar(
            self._con,
            f"""select count(*) from internal.examples e
            where {examples.membership(self._request.datasets)} and e.shard not in
                (select shard from internal.set_shards where set_id = ?)""",
            [set_id],
        )


@final
@dataclass(frozen=True, slots=True)
class _Arrays:
    """Turns the result of a query into a view.

    ``rows`` orders ``table`` by id, and ``places`` are those of its examples in the pool.
    """

    store: StoreHandle
    table: pa.Table
    rows: Rows
    pool: PoolOrder
    places: Rows

    def view(
        self,
        request: Request,
        bound: Mapping[str, SetShape],
        parsed: Mapping[str, Parsed],
        n_pool: int,
        pool_tokens: int,
        excluded: Mapping[str, int],
    ) -> View:
        ids = self._of_pool(self.pool.ids)
        columns: dict[str, Any] = {}
        by_vector: dict[str, Vectors] = {}
        for alias, shape in bound.items():
            for column, dtype in shape.columns.items():
                name = f"{alias}.{column}"
                if dtype == "vector":
                    by_vector[name] = self._vectors(shape.set_id, column, ids)
                elif dtype in ("floats", "ints"):
                    self._add_lists(columns, by_vector, name)
                else:
                    columns[name] = self._array(name)
        columns |= {alias: self._array(alias) for alias in parsed}
        sources, present = _dense(self._of_pool(self.pool.sources))
        groups, _ = _dense(self._of_pool(self.pool.groups))
        has_tokens = request.tokens_set is not None
        return View(
            ids=ids,
            columns=columns,
            groups=groups,
            sources=sources,
            source_names=[self.pool.source_names[code] for code in present.tolist()],
            tokens=self._array(_TOKENS) if has_tokens else None,
            vectors_by_column=by_vector,
            n_pool=n_pool,
            pool_tokens=pool_tokens if has_tokens else None,
            excluded=excluded,
        )

    def _column(self, name: str) -> pa.Array:
        column = self.table[name]
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def _array(self, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(self._column(name).to_numpy(zero_copy_only=False)[self.rows])

    def _of_pool(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values if len(self.places) == len(values) else values[self.places]

    def _add_lists(self, columns: dict[str, Any], by_vector: dict[str, Vectors], name: str) -> None:
        """Add lists of one length as a matrix, lists of different lengths as an array of arrays."""
        column = self._column(name)
        lengths = pc.list_value_length(column).to_numpy()
        if len(lengths) and (lengths == lengths[0]).all():
            flat = column.flatten().to_numpy(zero_copy_only=False)
            by_vector[name] = Vectors(flat.reshape(len(column), int(lengths[0]))[self.rows])
        else:
            columns[name] = self._array(name)

    def _vectors(self, set_id: str, column: str, ids: Ids) -> Vectors:
        stored = vectors.cached(self.store, set_id, column)
        if len(stored.ids) == len(ids):
            return Vectors(stored.array)
        return Vectors(stored.array, Lookup(stored.ids)(ids))


def _dense(codes: Rows) -> tuple[Rows, Rows]:
    """Return codes without gaps in the same order, and the code that each of them was."""
    present = np.bincount(codes) > 0 if len(codes) else np.empty(0, dtype=bool)
    known = np.flatnonzero(present)
    if len(known) == len(present):
        return codes, known
    return (np.cumsum(present) - 1)[codes], known


def condition_sql(where: Parsed, available: Mapping[str, Column]) -> str:
    """Return SQL that is true where a condition holds; raise `ExpressionError` for anything else."""
    condition = where.to_sql(available)
    if condition.kind not in ("bool", "null"):
        raise ExpressionError(
            f"--where {where.text!r} is {condition.kind}, but a condition is needed; "
            "compare it with something, as in: n_chars > 100"
        )
    return f"coalesce({condition.sql}, false)"


def matching(store: StoreHandle, con: duckdb.DuckDBPyConnection, where: str) -> pa.Table:
    """Return the ids of the examples of the pool that satisfy a condition, in order."""
    parsed = parse(where, names.all_aliases(con))
    request = Request({}, {}, where, None, None, (), (), None, None)
    _Query(store, con, request, [parsed]).materialise({}, parsed, None)
    ids: pa.Table = con.sql(
        "select e.id from result r join internal.examples e on e.row = r.row "
        "where excluded is null order by e.id"
    ).to_arrow_table()
    return ids
