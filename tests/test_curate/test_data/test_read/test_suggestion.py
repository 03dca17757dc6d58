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


def test_nothing_is_suggested_for_numbers_and_categories() -> None:
    rows = {"label": ["a", "b"] * 20, "n": list(range(40))}
    assert suggested(list(rows), rows.__getitem__) == ""
