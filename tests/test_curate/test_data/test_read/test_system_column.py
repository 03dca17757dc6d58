"""A column of system texts beside conversations that may have a system turn of their own."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data.read.formats import FORMATS
from curate.data.read.ingest import IngestOptions, ingest
from curate.store import Store

USER = {"content": "a", "role": "user"}
ASSISTANT = {"content": "b", "role": "assistant"}


def own(text: Any) -> dict[str, Any]:
    return {"content": text, "role": "system"}


ROWS = [
    {"system": "In French.", "messages": [USER, ASSISTANT]},
    {"system": "In Latin.", "messages": [own("In Latin."), USER, ASSISTANT]},
    {"system": "In Latin.", "messages": [own("In Greek."), USER, ASSISTANT]},
    {"system": "", "messages": [own("In Danish."), USER, ASSISTANT]},
    {"system": None, "messages": [own("In Dutch."), USER, ASSISTANT]},
    {"system": "In Irish.", "messages": [own(""), USER, ASSISTANT]},
]
USED = ["In French.", "In Latin.", "In Greek.", "In Danish.", "In Dutch.", ""]
WARNING = (
    "2 rows have a system turn of their own that differs from column 'system'; the turn is used and "
    "the column is not (the first: {path} {unit} 3); --column system= leaves the column out"
)


def system_turns(store: Store) -> list[str]:
    found = store.read(
        "select e.messages from rows r join examples e using (id) order by r.position"
    )
    return [json.loads(messages)[0]["content"] for messages in found["messages"].to_pylist()]


@pytest.mark.parametrize(("name", "unit"), [("pool.jsonl", "line"), ("pool.parquet", "row")])
def test_the_turn_wins_and_rows_that_differ_are_counted(
    tmp_path: Path, name: str, unit: str
) -> None:
    path = tmp_path / name
    if unit == "line":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    store = Store(tmp_path / "curate.duckdb")
    (report,) = ingest(store, str(path))
    assert report.warnings == (WARNING.format(path=path, unit=unit),)
    assert system_turns(store) == USED


def test_one_row_and_no_row(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]))
    (report,) = ingest(Store(tmp_path / "one.duckdb"), str(path))
    assert report.warnings[0].startswith("1 row has a system turn of its own that differs from")
    store = Store(tmp_path / "none.duckdb")
    (report,) = ingest(store, str(path), IngestOptions(columns={"system": ""}))
    assert report.warnings == ()
    assert system_turns(store) == ["a", "In Latin.", "In Greek."]


def test_no_conversation_gets_two_system_turns() -> None:
    turns = [own("x"), USER]
    found = [
        FORMATS["messages"].convert([*turns, ASSISTANT], "s", None),
        FORMATS["prompt-completion"].convert(turns, "b", "s", None),
        FORMATS["preference"].convert("b", "c", turns, "s", None),
        FORMATS["preference"].convert([ASSISTANT], [ASSISTANT], turns, "s", None),
        FORMATS["preference"].convert([*turns, ASSISTANT], [ASSISTANT], None, "s", None),
    ]
    assert [messages for messages, _ in found] == [[*turns, ASSISTANT]] * 5
    without, _ = FORMATS["prompt-completion"].convert([USER], "b", "s", None)
    assert without == [own("s"), USER, ASSISTANT]
