"""Columns of the input rows behind a shard's examples, for workers: read from the parts alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from curate.store.parts import open_parquet, read_json, read_parquet
from curate.store.pool.raw import csv_fields, records_at
from curate.store.pool.values import python_values
from curate.store.records import Dataset

ROW: Final = "row"  # column of a shard that is no part of a store: the values, as JSON
_RECORD: Final = "record"


def input_values(shard: Path, ids: Sequence[str], columns: Sequence[str]) -> list[dict[str, str]]:
    """Return columns of the first input row of some examples of a shard, as text, in order.

    Text stays as it is, numbers, lists and objects are written as JSON; null and what a row lacks
    are left out. A name such as ``meta.answer`` leads into an object, or into JSON in a text.
    Reads the rows that are asked for, and all positions of the dataset.
    """
    with open_parquet(shard) as file:
        is_copy = ROW in file.schema_arrow.names
    if is_copy:
        table = read_parquet(shard, ["id", ROW])
        rows = dict(zip(table["id"].to_pylist(), table[ROW].to_pylist(), strict=True))
        return [json.loads(rows[example]) for example in ids]
    parts, dataset = shard.parents[2], shard.parent.name
    known = read_parquet(parts / "rows" / f"{dataset}.parquet", ["position", "id"])
    mine = known.filter(pc.is_in(known["id"], pa.array(ids, pa.string())))
    first = mine.group_by("id").aggregate([("position", "min")])
    places = dict(zip(first["id"].to_pylist(), first["position_min"].to_pylist(), strict=True))
    records = records_at(parts, dataset, [places[example] for example in ids])
    facts = Dataset.from_json(json.dumps(read_json(parts / "datasets" / f"{dataset}.json")))
    return [_picked(row, columns) for row in _rows(records, facts)]


def with_rows(table: pa.Table, shard: Path, columns: Sequence[str]) -> pa.Table:
    """Return examples of a shard with what `input_values` says of them, to be read elsewhere."""
    rows = input_values(shard, table["id"].to_pylist(), columns)
    texts = [json.dumps(row, ensure_ascii=False) for row in rows]
    return table.append_column(ROW, pa.array(texts, pa.string()))


def plain_columns(parts: Path, dataset: str, position: int) -> dict[str, str | int | float | bool]:
    """Return the columns of one input row that hold text, a number, or true or false.

    Reads the row group that holds it, and all positions of the dataset.
    """
    facts = Dataset.from_json(json.dumps(read_json(parts / "datasets" / f"{dataset}.json")))
    [row] = _rows(records_at(parts, dataset, [position]), facts)
    if not isinstance(row, Mapping):
        return {}
    return {name: v for name, v in row.items() if isinstance(v, str | int | float | bool)}


def _rows(records: pa.Table, dataset: Dataset) -> list[Mapping[str, Any]]:
    """Return raw rows as mappings, whatever container they come from."""
    if dataset.container in ("jsonl", "json"):
        return [json.loads(record) for record in records[_RECORD].to_pylist()]
    if dataset.container != "csv":
        columns = [python_values(column) for column in records.columns]
        names = records.column_names
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    delimiter = dataset.extra["csv"]["delimiter"]
    header = csv_fields(dataset.extra["csv"]["header"], delimiter)
    texts = [record.decode() for record in records[_RECORD].to_pylist()]
    return [dict(zip(header, csv_fields(text, delimiter), strict=False)) for text in texts]


def _picked(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    found = {name: _value(row, name) for name in columns}
    return {name: _text(value) for name, value in found.items() if value is not None}


def _value(row: Mapping[str, Any], name: str) -> Any:
    """Return what a name leads to: a column of that very name first, then step by step."""
    if not isinstance(row, Mapping):
        return None
    if name in row:
        return row[name]
    value: Any = row
    for step in name.split("."):
        if isinstance(value, str) and value.lstrip()[:1] == "{":
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
