"""A row with half of a surrogate pair: named where a container cannot hold it, or written with --lossy."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from exported import bring, export, select
from surrogates import surrogates_let_in

from curate.api.pool import Pool
from curate.data.surrogates import lone_surrogate, replaced
from curate.errors import DataError
from curate.store import Store

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "response": "b"},
    {"prompt": "c \ud83d", "response": "d"},
    {"prompt": "e", "response": "f", "note": ["\udc00 g", "\U0001f600"]},
    {"prompt": "\U0001f600", "response": "\\ud83d", "note": ["h"]},
]
LOST = "half of a surrogate pair (U+FFFD is written in its place)"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "curate.duckdb")
    with surrogates_let_in():
        bring(store, tmp_path / "pool.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    return store


def test_json_lines_hold_everything(store: Store, tmp_path: Path) -> None:
    select(store)
    report = export(store, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "pool.jsonl").read_bytes()
    assert report.lost == []
    export(store, tmp_path / "messages.jsonl", to="messages")
    rows = [json.loads(text) for text in (tmp_path / "messages.jsonl").read_text().splitlines()]
    assert [row["messages"][0]["content"] for row in rows] == ["a", "c \ud83d", "e", "\U0001f600"]


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow", "out"])
def test_other_containers_name_the_rows(store: Store, tmp_path: Path, name: str) -> None:
    ids = select(store)
    kind = "Arrow" if name.endswith("arrow") else "Parquet"
    with pytest.raises(DataError) as caught:
        export(store, tmp_path / name)
    assert str(caught.value) == (
        f"2 of 4 rows cannot be written as {kind}, which holds no half of a surrogate pair "
        f"({ids[1]}, {tmp_path}/pool.jsonl row 2, has \\ud83d in column 'prompt'; "
        f"{ids[2]}, {tmp_path}/pool.jsonl row 3, has \\udc00 in column 'note'); "
        "use --lossy to write U+FFFD in its place, or write .jsonl"
    )
    assert not (tmp_path / name).exists()
    report = export(store, tmp_path / name, lossy=True)
    assert report.lost == [{"what": LOST, "n_rows": 2, "first": ids[1:3]}]


def test_what_lossy_writes(store: Store, tmp_path: Path) -> None:
    select(store)
    export(store, tmp_path / "out.parquet", lossy=True, annotate=True)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["prompt"] for row in rows] == ["a", "c \ufffd", "e", "\U0001f600"]
    assert [row["note"] for row in rows] == [None, None, ["\ufffd g", "\U0001f600"], ["h"]]
    assert [row["response"] for row in rows] == ["b", "d", "f", "\\ud83d"]


def test_csv_names_the_row_too(store: Store, tmp_path: Path) -> None:
    ids = select(store)
    asked = {"to": "alpaca"}
    with pytest.raises(DataError, match=f"1 of 4 rows cannot be written as CSV.*{ids[1]}, "):
        export(store, tmp_path / "out.csv", **asked)
    assert export(store, tmp_path / "out.csv", lossy=True, **asked).lost[0]["first"] == [ids[1]]
    assert "c \ufffd" in (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize("trainer", ["trl", "llama-factory", "axolotl"])
def test_a_trainer_gets_the_rows_with_lossy(store: Store, tmp_path: Path, trainer: str) -> None:
    pool = Pool(store.path)
    chosen = pool.select("random", budget="100%", seed=0)
    with pytest.raises(DataError, match=r"pool.jsonl row 2, has \\ud83d in column '"):
        pool.export(chosen.id, tmp_path / "out", trainer=trainer)
    written = pool.export(chosen.id, tmp_path / "out", trainer=trainer, lossy=True)
    assert [(row["what"], row["n_rows"]) for row in written["lost"]] == [(LOST, 1)]
    assert LOST in (tmp_path / "out" / "README.md").read_text()


def test_explain_shows_the_row(store: Store) -> None:
    ids = select(store)
    document = Pool(store.path).explain(ids[1])
    assert document["messages"][0]["content"] == "c \ud83d"


@pytest.mark.parametrize("value", ["a", "é \U0001f600", {"a": ["b"]}, None, 1, {"é": [[None, 2]]}])
def test_what_has_none_stays_as_it_is(value: Any) -> None:
    assert lone_surrogate(value) == ""
    assert replaced(value) == value


def test_a_key_can_have_one() -> None:
    assert lone_surrogate([{"a": 1, "b\udfff": 2}]) == "\\udfff"
    assert replaced([{"b\udfff": "c"}]) == [{"b\ufffd": "c"}]
