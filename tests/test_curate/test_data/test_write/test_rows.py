"""Exports give the input's rows back unchanged, in any container that holds them."""

import csv
import datetime
import decimal
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported import bring, export, line, line_columns, select
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import DataError
from curate.store import Store

# The input's rows, unchanged ---------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


leaves = st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5)
nested = leaves | st.lists(leaves, max_size=2)
prompts = st.text(st.characters(codec="utf-8"), max_size=12)
objects = st.lists(
    st.fixed_dictionaries(
        {"prompt": prompts, "response": prompts.map(lambda text: text + "!")},
        optional={"meta": nested | st.dictionaries(st.text(max_size=3), nested, max_size=2)},
    ),
    min_size=1,
    max_size=30,
)
slow = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@given(objects, st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans(), st.booleans())
def test_jsonl_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    ending: str,
    ascii_only: bool,
    ends: bool,
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    texts = [json.dumps(row, ensure_ascii=ascii_only, separators=(" ,", ":  ")) for row in rows]
    data = (ending.join(texts) + (ending if ends else "")).encode()
    store = Store(folder / "curate.duckdb")
    bring(store, folder / "a.jsonl", data)
    select(store)
    export(store, folder / "b.jsonl", order="input", keep_duplicates=True)
    newline = ending.replace("\n\n", "\n").encode()
    written = (folder / "b.jsonl").read_bytes()
    if len(rows) > 1 or ends:
        assert written == b"".join(text.encode() + newline for text in texts)
    else:
        assert written == texts[0].encode() + b"\n"


@slow
@given(objects, st.sampled_from([None, 1]))
def test_json_elements_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], indent: int | None
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    store = Store(folder / "curate.duckdb")
    texts = [json.dumps(row, indent=indent, ensure_ascii=False) for row in rows]
    bring(store, folder / "a.json", "[" + ", ".join(texts) + "]")
    select(store)
    export(store, folder / "b.json", order="input", keep_duplicates=True)
    assert (folder / "b.json").read_text() == "[\n" + ",\n".join(texts) + "\n]\n"
    export(store, folder / "b.jsonl", order="input", keep_duplicates=True)
    lines = (folder / "b.jsonl").read_text().removesuffix("\n").split("\n")
    assert [json.loads(text) for text in lines] == rows


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=10)


@slow
@given(
    st.lists(st.tuples(cells, cells.map(lambda text: text + "!")), min_size=1, max_size=30),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_records_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    ending: str,
    delimiter: str,
    quoting: Any,
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerows([("prompt", "response"), *rows])
    store = Store(folder / "curate.duckdb")
    bring(store, folder / "a.csv", text.getvalue().encode())
    select(store)
    export(store, folder / "b.csv", order="input", keep_duplicates=True)
    assert (folder / "b.csv").read_bytes() == text.getvalue().encode()
    export(store, folder / "b.jsonl", order="input", keep_duplicates=True)
    found = [json.loads(text) for text in (folder / "b.jsonl").read_text().split("\n") if text]
    assert [(row["prompt"], row["response"]) for row in found] == rows


@slow
@given(objects)
def test_parquet_values_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    table = pa.table(
        {
            "response": [row["response"] for row in rows],
            "meta": [[{"k": json.dumps(row.get("meta"))}, None] for row in rows],
            "prompt": [row["prompt"] for row in rows],
        }
    )
    pq.write_table(table, folder / "a.parquet")
    table = pq.read_table(folder / "a.parquet")
    store = Store(folder / "curate.duckdb")
    bring(store, folder / "a.parquet")
    select(store)
    export(store, folder / "b.parquet", order="input", keep_duplicates=True)
    assert pq.read_table(folder / "b.parquet").equals(table, check_metadata=True)
    export(store, folder / "b.jsonl", order="input", keep_duplicates=True)
    texts = (folder / "b.jsonl").read_text().removesuffix("\n").split("\n")
    assert [json.loads(text) for text in texts] == table.to_pylist()


def arrow_table() -> pa.Table:
    moment = datetime.datetime(2024, 5, 17, 12, 30, 1, 250)
    struct = pa.struct([("a", pa.int32()), ("b", pa.list_(pa.string()))])
    columns: dict[str, pa.Array] = {
        "prompt": pa.array(["a", "b", "c"], pa.large_string()),
        "response": pa.array(["x", "y", "z"]).dictionary_encode(),
        "small": pa.array([1, None, 3], pa.int8()),
        "half": pa.array(np.array([0.5, 1.5, -2], np.float16)),
        "flag": pa.array([True, None, False]),
        "when": pa.array([moment, None, moment], pa.timestamp("us", "Europe/Helsinki")),
        "nano": pa.array([1, 2, None], pa.timestamp("ns")),
        "day": pa.array([moment.date(), None, None], pa.date32()),
        "price": pa.array([decimal.Decimal("1.50"), None, None], pa.decimal128(5, 2)),
        "nested": pa.array([{"a": 1, "b": ["x", None]}, {"a": None, "b": []}, None], struct),
        "fixed": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int16(), 2)),
        "nothing": pa.nulls(3),
    }
    fields = [pa.field(name, array.type, metadata={"k": name}) for name, array in columns.items()]
    schema = pa.schema(fields, metadata={"origin": "here", "huggingface": '{"info": {}}'})
    return pa.Table.from_arrays(list(columns.values()), schema=schema)


@pytest.mark.parametrize("before", ["parquet", "arrow"])
@pytest.mark.parametrize("after", ["parquet", "arrow", "parquet.zst", "arrow.gz"])
def test_columns_come_back_with_schema_and_metadata(
    store: Store, tmp_path: Path, before: str, after: str
) -> None:
    table = arrow_table()
    path = tmp_path / f"a.{before}"
    if before == "parquet":
        pq.write_table(table, path)
        table = pq.read_table(path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    bring(store, path)
    ids = select(store)
    select(store, ids[::-1])
    report = export(store, tmp_path / f"b.{after}")
    data = (tmp_path / f"b.{after}").read_bytes()
    codec = {"gz": "gzip", "zst": "zstd"}.get(after.rpartition(".")[2])
    if codec:
        data = pa.CompressedInputStream(pa.BufferReader(data), codec).read()
    if after.startswith("parquet"):
        written = pq.read_table(pa.BufferReader(data))
    else:
        written = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    assert written.schema.equals(table.schema, check_metadata=True)
    assert written.to_pylist() == table.take([2, 1, 0]).to_pylist()
    assert report.columns == tuple(table.column_names)


def test_columns_become_json_with_nulls_and_iso_dates(store: Store, tmp_path: Path) -> None:
    pq.write_table(arrow_table(), tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    select(store)
    export(store, tmp_path / "b.jsonl")
    first, second, third = map(json.loads, (tmp_path / "b.jsonl").read_text().splitlines())
    assert list(first) == arrow_table().column_names
    assert first["when"] == "2024-05-17T15:30:01.000250+03:00"
    assert (first["day"], first["price"], first["half"]) == ("2024-05-17", "1.50", 0.5)
    assert first["nested"] == {"a": 1, "b": ["x", None]}
    assert second["nested"] == {"a": None, "b": []}
    assert (third["nested"], third["fixed"], third["nothing"]) == (None, None, None)


def test_nan_becomes_null_in_json(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({**line_columns(2), "x": [float("nan"), 1.0]}), tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    select(store)
    export(store, tmp_path / "b.jsonl")
    rows = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["x"] for row in rows] == [None, 1.0]


def test_bytes_have_no_place_in_json(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({**line_columns(1), "blob": [b"\x00"]}), tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    select(store)
    with pytest.raises(DataError) as caught:
        export(store, tmp_path / "b.jsonl")
    assert str(caught.value) == (
        f"{tmp_path}/a.parquet: column 'blob' of type binary cannot be written as JSON "
        "(it holds bytes); write .parquet or .arrow"
    )
    assert not (tmp_path / "b.jsonl").exists()


def test_json_becomes_columns_and_csv(store: Store, tmp_path: Path) -> None:
    rows = [line(0, n=1, tags=["x"]), line(1, extra=None, n=2.5)]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    select(store)
    report = export(store, tmp_path / "b.parquet")
    assert report.columns == ("prompt", "response", "n", "tags", "extra")
    assert pq.read_table(tmp_path / "b.parquet").to_pylist() == [
        {**line(0), "n": 1.0, "tags": ["x"], "extra": None},
        {**line(1), "n": 2.5, "tags": None, "extra": None},
    ]
    with pytest.raises(DataError, match="column 'tags' holds lists or objects, which CSV cannot"):
        export(store, tmp_path / "b.csv")


def test_mixed_types_have_no_place_in_columns(store: Store, tmp_path: Path) -> None:
    rows = [line(0, n=1), line(1, n="x")]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    select(store)
    with pytest.raises(DataError, match=r"column 'n' cannot be an Arrow column .*; write \.jsonl"):
        export(store, tmp_path / "b.parquet")


def test_scalars_become_csv(store: Store, tmp_path: Path) -> None:
    rows = [line(0, n=1, flag=True, none=None), line(1, text='a,"b"\n')]
    bring(store, tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    select(store)
    export(store, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == (
        b'prompt,response,n,flag,none,text\np0,r0,1,true,,\np1,r1,,,,"a,""b""\n"\n'
    )
