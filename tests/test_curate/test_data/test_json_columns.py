"""Columns of Arrow's JSON type, as `datasets` writes mixed values, are read as what they say."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported import bring, export, select

from curate.data.json_columns import holds_json, said_by
from curate.data.read.records import Chunk
from curate.store import Store

JSON = pa.json_()
PARTS = [{"type": "text", "text": "b"}]
CALL = {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TURN = pa.struct([("role", pa.string()), ("content", JSON), ("tool_calls", pa.list_(JSON))])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("content", '"a"', "a"), ("content", "null", None), ("content", json.dumps(PARTS), PARTS),
        ("content", "42", "42"), ("content", '{"x": 1}', '{"x": 1}'), ("content", "[1]", "[1]"),
        ("arguments", '{"x": 1}', '{"x": 1}'), ("arguments", '"{\\"x\\": 1}"', '{"x": 1}'),
        ("parameters", '{"x": 1}', {"x": 1}), ("meta", "42", 42), ("meta", "oops", "oops"),
    ],
)  # fmt: skip
def test_texts_stay_texts_and_all_else_is_what_it_says(name: str, text: str, said: Any) -> None:
    assert said_by(name, text, JSON) == said
    inside = pa.struct([(name, JSON)])
    assert said_by("", [{name: text}], pa.large_list(inside)) == [{name: said}]
    assert said_by("", {name: text}, pa.map_(pa.string(), JSON)) == {name: said}


def test_a_type_holds_json_at_any_depth() -> None:
    assert holds_json(pa.list_(pa.struct([("a", pa.map_(pa.string(), JSON))])))
    assert not holds_json(pa.list_(pa.struct([("a", pa.string()), ("b", pa.int64())])))


@pytest.fixture
def table() -> pa.Table:
    plain = pa.struct([("role", JSON.storage_type), ("content", pa.string()),
                       ("tool_calls", pa.list_(pa.string()))])  # fmt: skip
    called = {"role": "assistant", "tool_calls": [json.dumps(CALL)]}
    rows = [
        [{"role": "user", "content": '"a"'}, {"role": "assistant", "content": json.dumps(PARTS)}],
        [{"role": "user", "content": '"it\'s"'}, called],
    ]
    turns = pa.array(rows, pa.list_(plain)).cast(pa.list_(TURN))
    ids = pa.array(['"p"', "7"]).cast(JSON)
    return pa.table({"id": ids, "messages": turns})


SAID = [
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": PARTS}],
    [{"role": "user", "content": "it's"}, {"role": "assistant", "tool_calls": [CALL]}],
]


def test_a_chunk_gives_the_turns_that_were_meant(table: pa.Table) -> None:
    (batch,) = table.to_batches()
    assert Chunk("a", "row", [0, 1], [1, 2], batch).values("messages") == SAID


def test_such_a_file_is_read_and_written_as_json_of_objects(
    store_of: Store, tmp_path: Path, table: pa.Table
) -> None:
    pq.write_table(table, tmp_path / "a.parquet")
    bring(store_of, tmp_path / "a.parquet")
    select(store_of)
    export(store_of, tmp_path / "b.jsonl", order="input")
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["p", 7]
    assert [row["messages"][0]["content"] for row in rows] == ["a", "it's"]
    assert rows[0]["messages"][1]["content"] == PARTS
    assert rows[1]["messages"][1]["tool_calls"] == [CALL]
    ids = store_of.read("select id from examples order by id").to_pylist()
    again = Store(tmp_path / "again.duckdb")
    bring(again, tmp_path / "b.jsonl")
    assert again.read("select id from examples order by id").to_pylist() == ids


@pytest.fixture
def store_of(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")
