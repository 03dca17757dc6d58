"""Rows that are in no file: tables, lists, iterators and standard input are read like one."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.api.pool import Pool
from curate.errors import ConfigError, CurateError, DataError
from curate.store.parts import LOCK, TMP_MARK, owner

ROWS = [
    {"query": f"q {i}", "response": f"r {i} ü", "category": "a" if i % 2 else None, "stars": i}
    for i in range(5)
]


def each() -> Iterator[dict[str, Any]]:
    yield from ROWS


def dataset() -> Any:
    from datasets import Dataset

    return Dataset.from_list(ROWS)


def iterable_dataset() -> Any:
    from datasets import IterableDataset

    return IterableDataset.from_generator(each)


def splits() -> Any:
    from datasets import DatasetDict

    return DatasetDict({"train": dataset()})


TABLES: dict[str, Any] = {
    "list": lambda: ROWS,
    "generator": each,
    "polars": lambda: pl.DataFrame(ROWS),
    "lazy": lambda: pl.LazyFrame(ROWS),
    "pandas": lambda: pd.DataFrame(ROWS, index=list("vwxyz")),
    "arrow": lambda: pa.Table.from_pylist(ROWS),
    "batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "reader": lambda: pa.Table.from_pylist(ROWS).to_reader(2),
    "dataset": lambda: dataset().select([0, 1, 2, 3, 4]),
    "iterable": iterable_dataset,
}


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "curate.duckdb", create=True)


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_rows_is_the_same_pool_and_comes_back_unchanged(
    pool: Pool, tmp_path: Path, kind: str
) -> None:
    (report,) = pool.ingest(TABLES[kind]())
    assert (report.n_added, report.name, report.reused) == (5, "memory", False)
    chosen = pool.select(rank="row.stars", where="row.category = 'a'", budget=2)
    chosen.export(tmp_path / "out.jsonl")
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert kept == [ROWS[3], ROWS[1]]
    (again,) = pool.ingest(TABLES[kind]())
    assert again.reused
    assert not list((pool.store.parts / "cache").glob(".spooled*"))


def test_rows_and_files_may_be_given_together_and_selected_from(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "x", "response": "y"}) + "\n")
    pool.ingest(tmp_path / "a.jsonl", ROWS)
    assert len(pool) == 6
    chosen = pool.select("random", data=ROWS, budget="100%")
    assert len(chosen) == 5


def test_numbers_of_numpy_and_moments_are_written_as_json(pool: Pool) -> None:
    import datetime

    import numpy as np

    row = {
        "prompt": "a",
        "response": "b",
        "score": np.float32(0.5),
        "at": datetime.date(2026, 1, 2),
    }
    pool.ingest([row])
    assert pool.examples(where="row.score = 0.5 and row.at = '2026-01-02'").to_polars().height == 1


BAD: list[tuple[Any, type[CurateError], str]] = [
    (5, ConfigError, "data is int; give files or hub ids as text, a list of dicts, or a table"),
    ([1, 2], DataError, "memory row 1 is int, not a dict of columns; give a list of dicts"),
    (iter([ROWS[0], "x"]), DataError, "memory row 2 is str, not a dict of columns; give a list of dicts"),
    ([{"prompt": "a", "response": object()}], DataError,
     "memory row 1 cannot be written as JSON: it holds object; make its values text"),
    ([{"prompt": 1, "response": "b"}], DataError, "memory line 1: prompt is a number, not text"),
    ([], ConfigError, "give either DATA or"),
    (iter([]), DataError, "memory holds no rows"),
    (splits, ConfigError,
     "data is a DatasetDict of the splits train; give one of them, as in data['train']"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "kind", "message"), BAD)
def test_what_is_no_data_says_what_would_be(
    pool: Pool, data: Any, kind: type[CurateError], message: str
) -> None:
    data = data() if data is splits else data
    with pytest.raises(kind) as caught:
        pool.ingest(*data) if data == [] else pool.ingest(data)
    assert str(caught.value).startswith(message)
    assert len(pool) == 0


ODD_TABLES: list[tuple[str, Any]] = [
    ("mixed types", lambda: pd.DataFrame({"prompt": ["a", 1], "response": ["b", "c"]})),
    ("one name twice", lambda: pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"])),
]


@pytest.mark.parametrize(("kind", "made"), ODD_TABLES, ids=[kind for kind, _ in ODD_TABLES])
def test_a_table_that_arrow_cannot_hold_says_so(pool: Pool, kind: str, made: Any) -> None:
    with pytest.raises(DataError, match="^memory cannot be kept as an Arrow table: "):
        pool.ingest(made())


def test_a_series_and_batches_with_dictionaries_of_their_own_are_read(pool: Pool) -> None:
    (report,) = pool.ingest(pd.Series(["a text", "another"], name="text"))
    assert (report.format, report.n_added) == ("text", 2)
    halves = [
        pa.table({"prompt": pa.array(["a", name]).dictionary_encode(), "response": ["r", name]})
        for name in ("b", "c")
    ]
    batches = [batch for half in halves for batch in half.to_batches()]
    (report,) = pool.ingest(pa.RecordBatchReader.from_batches(halves[0].schema, batches))
    assert report.n_read == 4


def test_what_a_killed_process_left_is_collected(pool: Pool) -> None:
    left = pool.store.parts / "cache" / f".spooled{TMP_MARK}{owner()}-abc"
    left.mkdir(parents=True)
    (left / LOCK).touch()
    (left / "rows.jsonl").write_text("{}")
    pool.store.gc()
    assert not left.exists()


def written(kind: str) -> bytes:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    out = io.BytesIO()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), out)
        return out.getvalue()
    if kind == "json":
        return json.dumps(ROWS, indent=1).encode()
    if kind == "csv":
        return pd.DataFrame(ROWS).to_csv(index=False).encode()
    return gzip.compress(lines) if kind == "gz" else lines


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "gz", "parquet"])
def test_standard_input_is_read_as_what_it_holds(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stream = io.BytesIO(written(kind))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))
    (report,) = pool.ingest("-")
    assert (report.n_added, report.name) == (5, "standard input")
    assert report.container == ("jsonl" if kind == "gz" else kind)


def test_bad_rows_of_standard_input_are_named_by_line(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"prompt": "a", "response": "b"}\n{"prompt": "a"\n'
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    with pytest.raises(DataError, match="^standard input line 2: not valid JSON"):
        pool.ingest("-")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    (report,) = pool.ingest("-", on_error="skip")
    assert report.warnings[0].startswith(
        "1 row skipped and recorded; the first: standard input line 2:"
    )
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(isatty=lambda: True)))
    with pytest.raises(ConfigError, match="which is a terminal; pipe rows into the command"):
        pool.ingest("-")
