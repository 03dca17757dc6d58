"""Revised responses in the rows of every format and container, and in what notebooks get."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exported import SELECTION, bring, export, select

from curate.data.revisions import revised_example
from curate.errors import DataError
from curate.store import Store
from curate.store.results.revisions import ROWS_SCHEMA
from curate.train.data import rows_of_pool, rows_of_selection

NEW = 'a "new" one,\nindeed ☃'
USER = {"role": "user", "content": "hi"}
TURNS = [USER, {"role": "assistant", "content": "old 1", "reasoning_content": "because"}]
ROWS = {
    "alpaca": [{"instruction": f"i{n}", "input": "", "output": f"old {n}"} for n in range(3)],
    "prompt-completion": [{"prompt": f"p{n}", "completion": f"old {n}"} for n in range(3)],
    "prompt-response": [{"question": f"q{n}", "answer": f"old {n}"} for n in range(3)],
    "conversational": [
        {"prompt": [USER], "completion": [{"role": "assistant", "content": f"old {n}"}]}
        for n in range(3)
    ],
    "messages": [
        {"id": n, "messages": [USER, {"role": "assistant", "content": f"old {n}"}]}
        for n in range(3)
    ],
    "sharegpt": [
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": f"old {n}"}]}
        for n in range(3)
    ],
    "preference": [{"prompt": f"p{n}", "chosen": f"old {n}", "rejected": "bad"} for n in range(3)],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "curate.duckdb")


def revise(store: Store, at: int = 1, response: str = NEW) -> tuple[list[str], str]:
    """Select everything, and revise one response; return the ids, and that of the revision."""
    ids = select(store)
    example = next(row.example for row in rows_of_pool(store) if row.id == ids[at])
    made = revised_example(example, response)
    row = {"id": made.id, "parent_id": ids[at], "response": response, "confidence": 0.9,
           "consistency": 0.9, "reflection": 0.9, "parent_confidence": 0.1, "model": "m"}  # fmt: skip
    revised = pa.Table.from_pylist([row], schema=ROWS_SCHEMA)
    store.save_revised(store.selection(SELECTION), store.selection_rows(SELECTION), revised)
    return ids, made.id


def lines(rows) -> bytes:
    return b"".join(json.dumps(row, separators=(" ,", ":  ")).encode() + b"\n" for row in rows)


def response_of(row):
    for name in ("output", "completion", "answer", "messages", "conversations", "chosen"):
        if name in row:
            value = row[name]
            return (
                value
                if isinstance(value, str)
                else value[-1].get("content", value[-1].get("value"))
            )


@pytest.mark.parametrize("name", ROWS)
def test_json_lines_change_in_the_revised_row_alone(store, tmp_path, name):
    data = lines(ROWS[name])
    bring(store, tmp_path / "a.jsonl", data)
    revise(store)
    export(store, tmp_path / "out.jsonl")
    old, new = data.splitlines(), (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert [new[0], new[2]] == [old[0], old[2]]
    row = json.loads(new[1])
    assert response_of(row) == NEW
    assert list(row) == list(ROWS[name][1])
    assert b"old 1" not in new[1]


@pytest.mark.parametrize("name", ROWS)
def test_parquet_changes_in_the_revised_row_alone(store, tmp_path, name):
    table = pa.Table.from_pylist(ROWS[name])
    pq.write_table(table, tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    revise(store)
    export(store, tmp_path / "out.parquet")
    made = pq.read_table(tmp_path / "out.parquet")
    assert made.schema.equals(table.schema)
    assert made.take([0, 2]).equals(table.take([0, 2]))
    assert response_of(made.to_pylist()[1]) == NEW


def test_csv_changes_in_the_revised_record_alone(store, tmp_path):
    data = b'id;prompt;response\r\n1;"p 1";old 1\r\n2;p2;"old; 2"\r\n3;p3;old 3\r\n'
    bring(store, tmp_path / "a.csv", data)
    revise(store)
    export(store, tmp_path / "out.csv")
    made = (tmp_path / "out.csv").read_bytes()
    assert made.startswith(b'id;prompt;response\r\n1;"p 1";old 1\r\n2;p2;')
    assert made.endswith(b"\r\n3;p3;old 3\r\n")
    records = list(csv.reader(io.StringIO(made.decode(), newline=""), delimiter=";"))
    assert [record[2] for record in records[1:]] == ["old 1", NEW, "old 3"]


def test_messages_as_json_text_in_a_column(store, tmp_path):
    rows = [
        {"messages": json.dumps([USER, {"role": "assistant", "content": f"old {n}"}])}
        for n in (0, 1)
    ]
    bring(store, tmp_path / "a.jsonl", lines(rows))
    revise(store)
    export(store, tmp_path / "out.jsonl")
    made = json.loads((tmp_path / "out.jsonl").read_bytes().splitlines()[1])
    assert json.loads(made["messages"])[-1]["content"] == NEW


def test_a_response_that_is_json_itself_is_a_text(store, tmp_path):
    text = json.dumps([{"role": "assistant", "content": "old"}])
    rows = [{"instruction": "as JSON", "output": text}, {"instruction": "again", "output": "old"}]
    bring(store, tmp_path / "a.jsonl", lines(rows))
    revise(store, at=0)
    export(store, tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_bytes().splitlines()[0])["output"] == NEW


def test_reasoning_and_a_name_go_with_the_old_response(store, tmp_path):
    rows = [{"messages": TURNS}, {"messages": [USER, {**TURNS[1], "name": "bob"}]}]
    bring(store, tmp_path / "a.jsonl", lines(rows))
    revise(store, at=1)
    export(store, tmp_path / "out.jsonl")
    made = json.loads((tmp_path / "out.jsonl").read_bytes().splitlines()[1])
    assert made["messages"][-1] == {"role": "assistant", "content": NEW}


@pytest.mark.parametrize("to", ["messages", "sharegpt", "alpaca", "prompt-completion"])
def test_every_dialect_has_the_revised_response(store, tmp_path, to):
    bring(store, tmp_path / "a.jsonl", lines(ROWS["alpaca"]))
    revise(store)
    export(store, tmp_path / "out.jsonl", to=to)
    made = [json.loads(text) for text in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [response_of(row) for row in made] == ["old 0", NEW, "old 2"]


def test_every_copy_of_a_revised_example_is_revised(store, tmp_path):
    bring(store, tmp_path / "a.jsonl", lines([*ROWS["alpaca"], ROWS["alpaca"][1]]))
    revise(store)
    export(store, tmp_path / "out.jsonl", keep_duplicates=True, order="input")
    made = [json.loads(text) for text in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [response_of(row) for row in made] == ["old 0", NEW, "old 2", NEW]


def test_an_export_read_again_is_the_revised_example(store, tmp_path):
    bring(store, tmp_path / "a.jsonl", lines(ROWS["sharegpt"]))
    ids, revised = revise(store)
    export(store, tmp_path / "out.jsonl")
    other = Store(tmp_path / "other.duckdb")
    bring(other, tmp_path / "out.jsonl")
    assert {row.id for row in rows_of_pool(other)} == {ids[0], revised, ids[2]}


def test_columns_that_cannot_hold_a_text_are_an_error_that_names_the_rows(store, tmp_path):
    parts = [{"type": "text", "text": "old"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": parts}]
    pq.write_table(pa.Table.from_pylist([{"messages": turns}]), tmp_path / "a.parquet")
    bring(store, tmp_path / "a.parquet")
    ids, _ = revise(store, at=0)
    with pytest.raises(
        DataError,
        match=f"1 revised responses cannot be written into the rows of .*{ids[0]}.*use --to messages",
    ):
        export(store, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    export(store, tmp_path / "out.jsonl", to="messages")
    assert response_of(json.loads((tmp_path / "out.jsonl").read_bytes())) == NEW


def test_training_reads_the_revised_response_under_its_own_id(store, tmp_path):
    bring(store, tmp_path / "a.jsonl", lines(ROWS["alpaca"]))
    ids, revised = revise(store)
    rows = rows_of_selection(store, SELECTION)
    assert [row.id for row in rows] == [ids[0], revised, ids[2]]
    assert rows[1].example.id == revised
    assert rows[1].example.messages[-1]["content"] == NEW


def test_notebooks_see_the_revised_response(store, tmp_path):
    import curate as cu

    bring(store, tmp_path / "a.jsonl", lines(ROWS["alpaca"]))
    ids, _ = revise(store)
    frame = cu.open(store.path).selection(SELECTION).to_polars()
    assert frame["response"].to_list() == ["old 0", NEW, "old 2"]
    assert frame["messages"].to_list()[1][-1] == {"content": NEW, "role": "assistant"}
    assert frame["id"].to_list() == ids
    shown = cu.open(store.path).selection(SELECTION).examples(2).to_polars()
    assert shown["response"].to_list() == ["old 0", NEW]
