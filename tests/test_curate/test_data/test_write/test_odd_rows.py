"""Rows with large fields, maps, empty objects and null parts reach an output or one error."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported import bring, export, line, select

from curate.errors import DataError
from curate.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("to", ["input", "messages"])
def test_a_field_of_csv_larger_than_python_s_limit(store: Store, tmp_path: Path, to: str) -> None:
    large = "x" * (csv.field_size_limit() + 1)
    text = io.StringIO()
    csv.writer(text).writerows([("prompt", "response"), ("a", large)])
    bring(store, tmp_path / "a.csv", text.getvalue())
    select(store)
    export(store, tmp_path / "b.jsonl", to=to)
    assert large in (tmp_path / "b.jsonl").read_text()


def test_maps_are_objects_in_json_and_are_read_again(store: Store, tmp_path: Path) -> None:
    turns = [[("role", "user"), ("content", "a")], [("role", "assistant"), ("content", "b")]]
    column = pa.array([turns], pa.list_(pa.map_(pa.string(), pa.string())))
    twice = pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"messages": column, "twice": twice}), tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    ids = select(store)
    export(store, tmp_path / "b.jsonl")
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {
        "messages": [dict(turn) for turn in turns], "twice": [["k", 1], ["k", 2]],
    }  # fmt: skip
    again = Store(tmp_path / "again.duckdb")
    bring(again, tmp_path / "b.jsonl")
    assert again.read("select id from examples")["id"].to_pylist() == ids


@pytest.mark.parametrize("name", ["b.parquet", "b"])
def test_objects_that_are_always_empty_name_their_column(
    store: Store, tmp_path: Path, name: str
) -> None:
    rows = [line(0, meta={"tags": {}}), line(1, meta={"tags": {}})]
    bring(store, tmp_path / "a.jsonl", lines(rows))
    select(store)
    with pytest.raises(DataError) as caught:
        export(store, tmp_path / name)
    words = str(caught.value)
    assert words.startswith(
        "column 'meta' of type struct<tags: struct<>> cannot be a Parquet column"
    )
    assert words.endswith("; write .jsonl")
    export(store, tmp_path / "b.jsonl")
    assert not (tmp_path / name).exists()


def test_keys_of_parts_that_are_null_say_nothing(store: Store, tmp_path: Path) -> None:
    part = {"type": "text", "text": "a", "image_url": None, "index": None}
    asked = {"role": "user", "content": [part, {"type": "text", "text": "?"}]}
    row = {"messages": [asked, {"role": "assistant", "content": "b"}]}
    bring(store, tmp_path / "a.jsonl", lines([row]))
    select(store)
    export(store, tmp_path / "b.jsonl", to="alpaca")
    found = json.loads((tmp_path / "b.jsonl").read_text())
    assert found == {"instruction": "a?", "input": "", "output": "b"}


def test_a_part_whose_text_is_null_is_no_text(store: Store, tmp_path: Path) -> None:
    asked = {"role": "user", "content": [{"type": "text", "text": None}]}
    row = {"messages": [asked, {"role": "assistant", "content": "b"}]}
    bring(store, tmp_path / "a.jsonl", lines([row]))
    (example,) = select(store)
    with pytest.raises(
        DataError, match=f"alpaca \\({example} has content that is not text\\); use"
    ):
        export(store, tmp_path / "b.jsonl", to="alpaca")
    report = export(store, tmp_path / "b.jsonl", to="alpaca", lossy=True)
    assert [lost["what"] for lost in report.lost] == ["content that is not text"]
