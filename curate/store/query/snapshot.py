"""A copy of the pool's numbers in memory: browsing it never blocks the store."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, DataError
from curate.store.connection import connect_to_memory, duckdb_errors, identifier, literal
from curate.store.expressions import Column, Kind, parse
from curate.store.handle import StoreHandle
from curate.store.ids import HEX_PATTERN, Ids, Lookup, Rows, id_bytes, order
from curate.store.query import input_columns, mark_columns
from curate.store.query.viewing import COLUMN_KINDS, EXAMPLE_KINDS, TEXT_COLUMNS, condition_sql
from curate.store.records import ID_LENGTH, canonical_json, digest
from curate.store.schema import SetShape, meta, pool_files, set_shapes, shard_path, text_source
from curate.store.scores import names as set_names

Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Values: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
_CODED: Final = ("source", "dataset", "shard")


@final
@dataclass(frozen=True, slots=True)
class Described:
    """A column to filter by: its name, kind, and score set (None: a fact)."""

    name: str
    kind: Kind
    shape: SetShape | None = None
    column: str = ""


class Preview(NamedTuple):
    """The beginnings of a prompt and a response, and the characters of each in full."""

    prompt: str
    response: str
    n_prompt: int
    n_response: int


@final
class Snapshot:
    """Every example's facts and scores as they were at one moment, in order of id.

    Facts are read when it is made, a score set (and the group) the first time one of its columns is
    asked for. Each is one short query, after which nothing of the store is open. About 150 bytes of
    memory an example, and 16 more for each column that was looked at.

    Parameters
    ----------
    store
        The scores are those of the sets that are complete for the pool. Of several with one name
        each is there under a name of its own, ``alias@id``.

    Raises
    ------
    StoreError
        The store is held by another process for longer than it waits.
    """

    def __init__(self, store: StoreHandle) -> None:
        self._store = store
        self._loading = threading.Lock()
        self._loaded: dict[str, pa.Array] = {}
        self._input: dict[str, tuple[pa.Array, Kind]] = {}
        self._lookup: Lookup | None = None
        self._added: Rows | None = None
        with store.connect() as con:
            self.state = _state(con)
            complete = _complete(con)
            shapes = set_names.distinct(complete)
            self._ambiguous = {
                alias: str(set_names.ambiguous(alias, named, set_names.specs_of(con)))
                for alias, named in set_names.by_alias(complete).items()
                if len(named) > 1
            }
            self._files = pool_files(con, store.parts)
            table = con.sql(
                "select row, id, source, n_rows, n_chars, dataset, shard from internal.examples"
            ).to_arrow_table()
        ids = id_bytes(table["id"])
        in_order = order(ids)
        self.ids: Ids = ids[in_order]
        taken = pa.array(in_order)
        for name in table.column_names:
            if name != "id":
                column = _whole(table[name])
                column = column.dictionary_encode() if name in _CODED else column
                self._loaded[name] = column.take(taken)
        self._place = _places(self._loaded.pop("row").to_numpy())
        self.columns: Mapping[str, Described] = {
            described.name: described for described in _described(shapes)
        }
        self.shapes = shapes

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> pa.Array:
        """Return a column, (n,), null where there is no value; `DataError` for an unknown column."""
        with self._loading:
            if name not in self._loaded:
                self._load(self._known(name))
            return self._loaded[name]

    def values(self, name: str) -> Values:
        """Return a numeric or boolean column as floats, (n,), NaN where there is no value."""
        numbers: Values = (
            pc.cast(self.array(name), pa.float64()).to_numpy(zero_copy_only=False).astype(float)
        )
        return numbers

    def codes(self, name: str) -> tuple[Rows, list[str]]:
        """Return a text column as codes, (n,), -1 where there is none, and the text of each code."""
        column = self.array(name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)
        return codes.astype(np.int64), column.dictionary.to_pylist()

    def names(self, rows: Rows) -> list[str]:
        """Return the ids of some rows as text."""
        return [encoded.decode("ascii") for encoded in self.ids[rows].tolist()]

    def places(self, wanted: Ids) -> Rows:
        """Return the row of each id, (k,); -1 for those that are not in the pool."""
        with self._loading:
            self._lookup = self._lookup or Lookup(self.ids)
        return self._lookup(wanted)

    def places_in_order(self, wanted: Ids, first: int) -> Rows:
        """Return what `places` does; at once if these are the examples from ``first`` on as they were added.

        Which the shards of the whole pool are, read one after the other.
        """
        if self._added is None:
            self._added = self._place[self._place >= 0]
        expected = self._added[first : first + len(wanted)]
        if len(expected) == len(wanted) and bool((self.ids[expected] == wanted).all()):
            return expected
        return self.places(wanted)

    def numbers(self, set_id: str, names: Sequence[str]) -> dict[str, Values]:
        """Return numeric columns of a score set, complete or not, as floats, (n,), NaN where there is no value."""
        numbers = {name: np.full(len(self), np.nan) for name in names}
        with self._store.connect() as con:
            shape = next((shape for shape in set_shapes(con) if shape.set_id == set_id), None)
            if shape is None or not names:
                return numbers
            listed = ", ".join(
                f"{identifier(name)}::double as {identifier(name)}" for name in names
            )
            table = con.sql(f"select row, {listed} from {shape.table}").to_arrow_table()
        at = self._at(table["row"].to_numpy())
        inside = at >= 0  # an ingest may run at the same time
        is_all = bool(inside.all())
        at = at if is_all else at[inside]
        for name, column in numbers.items():
            values = table[name].to_numpy()
            column[at] = values if is_all else values[inside]
        return numbers

    def place(self, example_id: str) -> int:
        """Return the row of an id; `DataError` where it is not in the pool."""
        is_id = re.fullmatch(HEX_PATTERN, example_id)
        row = int(self.places(np.array([example_id.encode()]))[0]) if is_id else -1
        if row < 0:
            raise DataError(f"no example {example_id!r} in the pool; it may have been forgotten")
        return row

    def matching(self, where: str) -> Mask:
        """Return which rows satisfy a condition in the grammar of ``--where``, (n,).

        A condition on texts reads them from their files; any other is answered from memory.
        Raises `ExpressionError`.
        """
        parsed = parse(where, self.shapes)
        for name in parsed.columns:
            self._refuse_ambiguous(name)
        texts = [name for name in parsed.columns if name in TEXT_COLUMNS]
        kinds = {name: column.kind for name, column in self.columns.items()}
        marks, kinds_of_marks = self._mark_columns([n for n in parsed.columns if n not in kinds])
        kinds |= self._input_columns([n for n in parsed.columns if n not in marks])
        kinds |= kinds_of_marks
        available = {name: Column(f"p.{identifier(name)}", kind) for name, kind in kinds.items()}
        available |= {name: Column(f"t.{name}", "text") for name in TEXT_COLUMNS}
        sql = condition_sql(parsed, available)
        used = dict.fromkeys([name for name in parsed.columns if name in kinds] or ["n_rows"])
        if texts:
            used["id"] = None
        table = pa.table({n: marks[n] if n in marks else self._known_or_input(n) for n in used})
        with self.memory() as con:
            if not texts:
                con.register("pool", table)
                matches = con.sql(f"select {sql} as holds from pool p").to_arrow_table()
                return np.asarray(_whole(matches["holds"]).to_numpy(zero_copy_only=False))
            con.register("pool", table.append_column("at", pa.array(np.arange(len(self)))))
            matches = con.sql(
                f"select p.at from pool p join (select id, {', '.join(texts)} from "
                f"{self.text_sql()}) t on t.id = p.id where {sql}"
            ).to_arrow_table()
        mask = np.zeros(len(self), dtype=bool)
        mask[matches["at"].to_numpy()] = True
        return mask

    def previews(self, rows: Rows, n_chars: int) -> list["Preview"]:
        """Return the beginnings of prompt and response of some rows, in the order asked for."""
        files = self.text_files(rows)
        if not files:
            return []
        names = self.names(rows)
        listed, wanted = ", ".join(map(literal, files)), ", ".join(map(literal, names))
        with self.memory() as con:
            texts = con.sql(
                f"select id, left(prompt, {n_chars}), left(response, {n_chars}), "
                "coalesce(length(prompt), 0), coalesce(length(response), 0) "
                f"from read_parquet([{listed}]) where id in ({wanted})"
            ).fetchall()
        by_id = {
            name: Preview(prompt or "", response or "", *lengths)
            for name, prompt, response, *lengths in texts
        }
        return [by_id.get(name, Preview("", "", 0, 0)) for name in names]

    def text_files(self, rows: Rows) -> list[str]:
        """Return the Parquet files that hold the texts of some rows, each once."""
        shards = self.array("shard").take(pa.array(rows)).to_pylist()
        datasets = self.array("dataset").take(pa.array(rows)).to_pylist()
        pairs = dict.fromkeys(zip(datasets, shards, strict=True))
        return [str(shard_path(self._store.parts, *pair)) for pair in pairs]

    def text_sql(self) -> str:
        """Return SQL for the texts of the whole pool."""
        return text_source(self._files)

    @contextmanager
    def memory(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect to an empty database in memory, independent of the store's file."""
        with connect_to_memory(self._store.spill) as con, duckdb_errors(self._store.path):
            yield con

    def _known(self, name: str) -> Described:
        if name not in self.columns:
            self._refuse_ambiguous(name)
            raise DataError(
                f"no column {name!r} in the store; it has: {', '.join(sorted(self.columns))}"
            )
        return self.columns[name]

    def _known_or_input(self, name: str) -> pa.Array:
        return self._input[name][0] if name in self._input else self.array(name)

    def _mark_columns(self, used: Sequence[str]) -> tuple[dict[str, pa.Array], dict[str, Kind]]:
        """Read the marks, labels and notes that are used, of every row, and their kinds."""
        asked = mark_columns.asked(used)
        if not asked:
            return {}, {}
        with self._store.connect() as con:
            table, kinds = mark_columns.read(con, asked)
        places = self.places(id_bytes(table["id"]))
        source = np.full(len(self), -1, dtype=np.int64)
        source[places[places >= 0]] = np.flatnonzero(places >= 0)
        taken = pa.array(source, mask=source < 0)
        return {
            name: pc.fill_null(_whole(table[name]).take(taken), mark_columns.default(name))
            for name in kinds
        }, kinds

    def _input_columns(self, used: Sequence[str]) -> dict[str, Kind]:
        """Read the ``row.NAME`` that are used, once each; return their kinds.

        Where some name is unknown, the kinds of all there are, for the error to list.
        """
        asked = [n for n in used if n.startswith(input_columns.PREFIX) and n not in self._input]
        if not set(used) - {*self._input, *self.columns, *TEXT_COLUMNS}:
            return {name: kind for name, (_, kind) in self._input.items()}
        with self._store.connect() as con:
            if asked:
                table, kinds = input_columns.read(self._store, con, asked, None)
                places = self.places(id_bytes(table["id"]))
                source = np.full(len(self), -1, dtype=np.int64)
                source[places[places >= 0]] = np.flatnonzero(places >= 0)
                taken = pa.array(source, mask=source < 0)
                for name, kind in kinds.items():
                    self._input[name] = _whole(table[name]).take(taken), kind
            known_kinds: dict[str, Kind] = {name: kind for name, (_, kind) in self._input.items()}
            if set(used) - {*known_kinds, *self.columns, *TEXT_COLUMNS}:
                known = input_columns.known_names(self._store, con, None)
                known = [*known, *mark_columns.known_names(con)]
                known_kinds = {**dict.fromkeys(known, "null"), **known_kinds}
        return known_kinds

    def _refuse_ambiguous(self, name: str) -> None:
        """Raise `ConfigError` for a column of a name that several score sets have."""
        if (words := self._ambiguous.get(name.rpartition(".")[0])) is not None:
            raise ConfigError(words)

    def _at(self, rows: Rows) -> Rows:
        """Return the position of each row number, (k,); -1 for one that was not there at that moment."""
        known = rows < len(self._place)
        at: Rows = np.where(known, self._place[np.where(known, rows, 0)], -1)
        return at

    def _load(self, wanted: Described) -> None:
        """Read a fact, or all columns of a score set that can be shown."""
        if wanted.name == "id":
            self._loaded["id"] = _strings(self.ids)
            return
        ours = [
            described
            for described in self.columns.values()
            if described.shape and described.shape == wanted.shape
        ]
        source_table = wanted.shape.table if wanted.shape else "internal.examples"
        ours = ours or [wanted]
        names = list(dict.fromkeys(described.column or described.name for described in ours))
        with self._store.connect() as con:
            table = con.sql(
                f"select row, {', '.join(map(identifier, names))} from {source_table}"
            ).to_arrow_table()
        at = self._at(table["row"].to_numpy())
        source = np.full(len(self), -1, dtype=np.int64)
        source[at[at >= 0]] = np.flatnonzero(at >= 0)
        taken = pa.array(source, mask=source < 0)
        for described in ours:
            column = _whole(table[described.column or described.name])
            column = column.dictionary_encode() if described.kind == "text" else column
            self._loaded[described.name] = column.take(taken)


def state(store: StoreHandle) -> str:
    """Return a hash that changes whenever a new snapshot would differ."""
    with store.connect() as con:
        return _state(con)


def _state(con: duckdb.DuckDBPyConnection) -> str:
    sets = [(alias, shape.set_id) for alias, shape in set_names.distinct(_complete(con)).items()]
    return digest(canonical_json([meta(con, "pool_version"), sets]), 8)


def _complete(con: duckdb.DuckDBPyConnection) -> list[SetShape]:
    return [shape for shape in set_shapes(con) if shape.complete]


def _described(shapes: Mapping[str, SetShape]) -> Iterator[Described]:
    for name, kind in EXAMPLE_KINDS.items():
        yield Described(name, kind)
    for alias, shape in shapes.items():
        for column, dtype in shape.columns.items():
            if dtype in COLUMN_KINDS:
                yield Described(f"{alias}.{column}", COLUMN_KINDS[dtype], shape, column)


def _places(rows: Sequence[int] | Rows) -> Rows:
    """Return the position of each row number; -1 for numbers that are not there."""
    numbers = np.asarray(rows, dtype=np.int64)
    places = np.full(int(numbers.max()) + 1 if len(numbers) else 0, -1, dtype=np.int64)
    places[numbers] = np.arange(len(numbers))
    return places


def _strings(ids: Ids) -> pa.Array:
    buffers = [None, pa.py_buffer(np.ascontiguousarray(ids))]
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(ID_LENGTH), len(ids), buffers)
    return fixed.cast(pa.binary()).cast(pa.string())


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
