"""The options that a dataset with unknown columns is told to add, and that they read it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from curate.data.read.ingest import IngestOptions, ingest
from curate.data.read.suggestion import suggested
from curate.errors import DataError
from curate.store import Store

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
CASES: list[tuple[dict[str, Any], str]] = [
    ({"user_query": "a", "final_reply": "b"}, "--column prompt=user_query --column response=final_reply"),
    ({"Aufgabe": "Was ist das?", "Antwort": "Das ist ein Satz.", "n": 3},
     "--column prompt=Aufgabe --column response=Antwort"),
    ({"My Question": "What is it?", "text given": "A sentence."},
     "--column 'prompt=My Question' --column 'response=text given'"),
    ({"dialog": TURNS, "lang": "en"}, "--column messages=dialog"),
    ({"body": "Some words to learn from.", "lang": "en"}, "--column text=body"),
]  # fmt: skip


def numbered(row: dict[str, Any], i: int) -> dict[str, Any]:
    """Return the row with another number in each of its texts, those in turns included."""
    if isinstance(row.get("dialog"), list):
        return {**row, "dialog": [{"role": "user", "content": f"a {i}"}, *row["dialog"][1:]]}
    return {k: f"{v} {i}" if isinstance(v, str) and k != "lang" else v for k, v in row.items()}


@pytest.mark.parametrize(("row", "flags"), CASES)
def test_what_is_suggested_reads_the_data(tmp_path: Path, row: dict[str, Any], flags: str) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(numbered(row, i)) + "\n" for i in range(4)))
    store = Store(tmp_path / "curate.duckdb")
    with pytest.raises(DataError) as caught:
        ingest(store, str(path))
    assert f", add {flags}; known formats" in str(caught.value)
    columns = dict(word.split("=") for word in shlex.split(flags) if "=" in word)
    (report,) = ingest(store, str(path), IngestOptions(columns=columns))
    assert report.n_added == 4


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ingest(Store(path.with_suffix(".duckdb")), str(path))
    return str(caught.value)


def test_rows_inside_an_object_are_taken_out_by_the_command_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    rows = [{"instruction": f"a {i}", "output": "b"} for i in range(3)]
    path.write_text(json.dumps({"version": 1, "the data": rows}))
    words = refusal(path)
    said = "; if 'the data' holds the rows, write them as lines: "
    command = shlex.split(words.partition(said)[2].partition(";")[0])
    assert command == ["jq", "-c", '.["the data"][]', str(path), ">", "rows.jsonl"]


def test_objects_that_are_no_turns_are_not_called_conversations(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    turns = [{"speaker": "user", "text": "a"}, {"speaker": "bot", "text": "b"}]
    path.write_text(f"{json.dumps({'messages': turns})}\n" * 2)
    said = "; 'messages' holds objects with the keys speaker, text, which are no turns: a turn has role and"
    assert said in refusal(path)
    tests = [{"stdin": "1", "stdout": "2"}]
    rows = [{"user_query": f"a {i}", "final_reply": "b", "cases": tests} for i in range(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "add --column prompt=user_query --column response=final_reply;" in refusal(path)


def test_the_text_of_turns_is_no_prose() -> None:
    rows = {"dialog": [str(TURNS)] * 3, "lang": ["en"] * 3}
    assert suggested(list(rows), rows.__getitem__).endswith("add --column messages=dialog")


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ({"messages": TURNS}, "messages is an object, not a list of messages"),
        (
            [["human", "a"], ["gpt", "b"]],
            "message 1 is a list, not an object with role and content",
        ),
        ([{"user": "a"}, {"assistant": "b"}], "message 1 has no role (null or missing)"),
    ],
)
def test_a_column_of_messages_that_are_none_says_why(held: Any, reason: str) -> None:
    rows = {"messages": [held], "topic": ["Some words to learn from."]}
    assert suggested(list(rows), rows.__getitem__) == f"'messages' holds no conversations: {reason}"


def test_nothing_is_suggested_for_numbers_and_categories() -> None:
    rows = {"label": ["a", "b"] * 20, "n": list(range(40))}
    assert suggested(list(rows), rows.__getitem__) == ""
