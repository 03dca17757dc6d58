"""A user's own columns of the input rows, ``row.NAME`` in expressions, read from the stored rows.

An example has the values of its first row, in the order of ingestion. A name may lead into objects:
``row.meta.score``. The values of a column are all numbers, all text or all true or false; a CSV
file's are numbers where every field that is not empty is one. Numbers are double precision, as in
every expression: whole ones beyond 2**53 are rounded.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ExpressionError
from curate.store.connection import literal
from curate.store.expressions import Kind
from curate.store.handle import StoreHandle
from curate.store.parts import open_parquet, read_parquet
from curate.store.pool.raw import csv_fields
from curate.store.records import Dataset

ROW: Final = "row"
PREFIX: Final = f"{ROW}."
_SEEN: Final = 10_000  # rows of a dataset looked at for the names there are
_RECORD: Final = "record"  # the one column of raw rows that are text
_KINDS: Final[Mapping[str, Kind]] = {
    "BIGINT": "number", "UBIGINT": "number", "HUGEINT": "number", "DOUBLE": "number",
    "VARCHAR": "text", "BOOLEAN": "bool",
}  # fmt: skip
_TYPES: Final[Mapping[Kind, pa.DataType]] = {
    "number": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "null": pa.string(),
}  # fmt: skip
_NUMBER: Final = re.compile(
    r"\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf(?:inity)?)\s*", re.IGNORECASE | re.ASCII
)
_NESTED: Final = "a list or an object"
Values = tuple[pa.Array, Kind]


def read(
    store: StoreHandle,
    con: duckdb.DuckDBPyConnection,
    names: Sequence[str],
    datasets: Sequence[str] | None,
) -> tuple[pa.Table, dict[str, Kind]]:
    """Return the values of columns ``row.NAME`` by example, and the kind of each column.

    Columns: ``id`` and each name, of one type each; null where a row lacks it. One row an example,
    its first in the datasets (None: all of them). A name that no row has is left out. Reads every
    row of the datasets; memory is that of the values.

    Raises
    ------
    ExpressionError
        A column has values of several kinds, or lists and objects.
    """
    columns: dict[str, list[Values]] = {name: [] for name in names}
    ids: list[pa.ChunkedArray] = []
    for dataset in _datasets(con, datasets):
        ids.append(
            read_parquet(store.parts / "rows" / f"{dataset.dataset_id}.parquet", ["id"])["id"]
        )
        for name, values in _read_dataset(store.parts, con, dataset, names).items():
            columns[name].append(values)
    if not ids:
        return pa.table({"id": pa.array([], pa.string())}), {}
    kinds = {name: _one_kind(name, parts) for name, parts in columns.items()}
    there = known_names(store, con, datasets) if "null" in kinds.values() else ()
    kinds = {name: kind for name, kind in kinds.items() if kind != "null" or name in there}
    table = {
        "id": pa.chunked_array([chunk for array in ids for chunk in array.chunks], pa.string())
    }
    for name, kind in kinds.items():
        chunks = [array.cast(_TYPES[kind]) for array, _ in columns[name]]
        table[name] = pa.chunked_array(chunks, _TYPES[kind])
    whole = pa.table(table).append_column("n", pa.array(np.arange(sum(map(len, ids)))))
    first = whole.select(["id", "n"]).group_by("id").aggregate([("n", "min")])["n_min"]
    return whole.take(first).drop_columns("n"), kinds


def known_names(
    store: StoreHandle, con: duckdb.DuckDBPyConnection, datasets: Sequence[str] | None
) -> list[str]:
    """Return the names of the columns of the first rows of each dataset, as ``row.NAME``."""
    names: dict[str, None] = {}
    for dataset in _datasets(con, datasets):
        names |= dict.fromkeys(_names(store.parts, dataset))
    return [f"{PREFIX}{name}" for name in names]


def _datasets(con: duckdb.DuckDBPyConnection, wanted: Sequence[str] | None) -> list[Dataset]:
    rows = con.execute("select manifest from internal.datasets order by ordinal").fetchall()
    known = [Dataset.from_json(manifest) for (manifest,) in rows]
    return [dataset for dataset in known if wanted is None or dataset.dataset_id in wanted]


def _names(parts: Path, dataset: Dataset) -> list[str]:
    if dataset.container == "csv":
        return _csv_header(dataset)
    first = next(_groups(parts, dataset, None), None)
    if first is None:
        return []
    if first.column_names != [_RECORD] or dataset.container not in ("jsonl", "json"):
        return list(first.column_names)
    records = first[_RECORD].slice(0, _SEEN).to_pylist()
    return list(dict.fromkeys(key for record in records for key in _keys(record)))


def _keys(record: bytes) -> list[str]:
    try:
        return list(json.loads(record))
    except (ValueError, TypeError):
        return []  # not an object: it has no names to offer


def _groups(parts: Path, dataset: Dataset, columns: list[str] | None) -> Iterator[pa.Table]:
    """Yield the raw rows of a dataset in order, a row group at a time."""
    for path in sorted((parts / "raw" / dataset.dataset_id).glob("part-*.parquet")):
        with open_parquet(path) as file:
            for group in range(file.metadata.num_row_groups):
                yield file.read_row_group(group, columns=columns)


def _read_dataset(
    parts: Path, con: duckdb.DuckDBPyConnection, dataset: Dataset, names: Sequence[str]
) -> dict[str, Values]:
    """Return the values of each name over all rows of a dataset, with their kind."""
    fields = [name.removeprefix(PREFIX) for name in names]
    if dataset.container == "csv":
        read = _read_csv(parts, dataset, fields)
    elif dataset.container in ("jsonl", "json"):
        read = _read_json(parts, con, dataset, fields)
    else:
        read = _read_columns(parts, con, dataset, fields)
    return dict(zip(names, read, strict=True))


def _read_csv(parts: Path, dataset: Dataset, fields: Sequence[str]) -> list[Values]:
    header = _csv_header(dataset)
    delimiter = dataset.extra["csv"]["delimiter"]
    texts: list[list[str | None]] = [[] for _ in fields]
    for table in _groups(parts, dataset, [_RECORD]):
        for record in table[_RECORD].to_pylist():
            row = dict(zip(header, csv_fields(record.decode(), delimiter), strict=True))
            for field, into in zip(fields, texts, strict=True):
                into.append(row.get(field) or None)
    return [_typed_texts(values) for values in texts]


def _csv_header(dataset: Dataset) -> list[str]:
    return csv_fields(dataset.extra["csv"]["header"], dataset.extra["csv"]["delimiter"])


def _typed_texts(texts: Sequence[str | None]) -> Values:
    known = [text for text in texts if text is not None]
    if not known:
        return pa.nulls(len(texts), pa.string()), "null"
    if not all(map(_NUMBER.fullmatch, known)):
        return pa.array(texts, pa.string()), "text"
    numbers = [None if text is None else _finite(float(text)) for text in texts]
    return pa.array(numbers, pa.float64()), "number"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _read_json(
    parts: Path, con: duckdb.DuckDBPyConnection, dataset: Dataset, fields: Sequence[str]
) -> list[Values]:
    by_field: list[list[pa.Table]] = [[] for _ in fields]
    for table in _groups(parts, dataset, [_RECORD]):
        texts = pa.table({_RECORD: pa.array(map(_valid, table[_RECORD].to_pylist()), pa.string())})
        for into, extracted in zip(by_field, _extract(con, texts, fields), strict=True):
            into.append(extracted)
    return [_typed_json(f"{PREFIX}{f}", dataset, t) for f, t in zip(fields, by_field, strict=True)]


def _valid(record: bytes) -> str:
    """Return a record as JSON that every reader takes: Python's may hold NaN and surrogates."""
    text = record.decode()
    if "NaN" in text or "Infinity" in text or "\\ud" in text.lower():
        return json.dumps(_without_oddities(json.loads(text)))
    return text


def _without_oddities(value: Any) -> Any:
    if isinstance(value, dict):
        return {_without_oddities(key): _without_oddities(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_oddities(inner) for inner in value]
    if isinstance(value, float):
        return _finite(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _extract(
    con: duckdb.DuckDBPyConnection, table: pa.Table, fields: Sequence[str]
) -> list[pa.Table]:
    """Return the JSON kind and the text of each field of a column of JSON, in order."""
    con.register("input_records", table.append_column("n", pa.array(np.arange(table.num_rows))))
    column = table.column_names[0]
    tables = []
    for field in fields:
        flat, nested = _pointer([field]), _pointer(field.split("."))
        value = f"coalesce(json_extract({column}, {flat}), json_extract({column}, {nested}))"
        tables.append(
            con.sql(
                f"select json_type(v) as kind, v ->> '$' as text from (select n, {value} as v "
                "from input_records) order by n"
            ).to_arrow_table()
        )
    con.unregister("input_records")
    return tables


def _pointer(keys: Sequence[str]) -> str:
    return literal("".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in keys))


def _typed_json(name: str, dataset: Dataset, tables: Sequence[pa.Table]) -> Values:
    table = pa.concat_tables(tables)
    counts: Counter[str] = Counter()
    for count in pc.value_counts(table["kind"].combine_chunks()).to_pylist():
        if count["values"] not in (None, "NULL"):
            counts[_KINDS.get(count["values"], _NESTED)] += count["counts"]
    texts = pc.if_else(pc.equal(table["kind"], "NULL"), None, table["text"]).combine_chunks()
    if not counts:
        return texts, "null"
    _refuse_mixed(name, dataset.name, counts)
    kind: Kind = next(k for k in ("number", "text", "bool") if k in counts)
    return texts.cast(_TYPES[kind]), kind


def _read_columns(
    parts: Path, con: duckdb.DuckDBPyConnection, dataset: Dataset, fields: Sequence[str]
) -> list[Values]:
    return [_read_column(parts, con, dataset, field) for field in fields]


def _read_column(
    parts: Path, con: duckdb.DuckDBPyConnection, dataset: Dataset, field: str
) -> Values:
    top, _, rest = field.partition(".")
    names = _names(parts, dataset)
    if field in names:
        top, rest = field, ""
    chunks: list[pa.Array] = []
    tables: list[pa.Table] = []
    for table in _groups(parts, dataset, [top] if top in names else names[:1]):
        if top not in names:
            chunks.append(pa.nulls(table.num_rows, pa.string()))
        elif rest:
            con.register("input_columns", table)
            as_json = con.sql(
                f"select to_json(columns(*))::varchar as {_RECORD} from input_columns"
            )
            tables += _extract(con, as_json.to_arrow_table(), [rest])
        else:
            chunks += [_plain(f"{PREFIX}{field}", dataset, chunk) for chunk in table[top].chunks]
    if tables:
        return _typed_json(f"{PREFIX}{field}", dataset, tables)
    if not chunks:
        return pa.array([], pa.string()), "null"
    whole = pa.chunked_array(chunks).combine_chunks()
    return whole, _kind_of(whole)


def _plain(name: str, dataset: Dataset, array: pa.Array) -> pa.Array:
    """Return a column of numbers as floats, of true and false as it is, of other values as text."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        _refuse_mixed(name, dataset.name, Counter({_NESTED: len(array) - array.null_count}))
    if pa.types.is_boolean(kind):
        return array
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = array.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_finite(numbers), numbers, None)
    return array.cast(pa.string())


def _kind_of(array: pa.Array) -> Kind:
    if array.null_count == len(array):
        return "null"
    if pa.types.is_floating(array.type):
        return "number"
    return "bool" if pa.types.is_boolean(array.type) else "text"


def _one_kind(name: str, parts: Sequence[Values]) -> Kind:
    counts: Counter[str] = Counter()
    for array, kind in parts:
        if kind != "null":
            counts[kind] += len(array) - array.null_count
    if not counts:
        return "null"
    _refuse_mixed(name, "the datasets", counts)
    return next(kind for _, kind in parts if kind != "null")


def _refuse_mixed(name: str, where: str, counts: Mapping[str, int]) -> None:
    """Raise for values of several kinds, or of a kind that no expression can use."""
    if len(counts) == 1 and _NESTED not in counts:
        return
    listed = " and ".join(
        f"{kind} in {n:,} row{'s' if n != 1 else ''}" for kind, n in sorted(counts.items())
    )
    raise ExpressionError(
        f"{name} is {listed} of {where}; an expression reads columns of one kind: number, text or "
        f"true and false{f'; name a value inside it, as in {name}.KEY' if _NESTED in counts else ''}"
    )
