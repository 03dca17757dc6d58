"""What is said of a store that is damaged, full or out of memory, and what a rebuild saves of it."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from curate.api.pool import Pool
from curate.errors import StoreError
from curate.store import Store
from curate.store.connection import duckdb_errors
from curate.store.parts import full_disk_as_error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            duckdb.IOException("IO Error: Could not open file: too many open files"),
            "could not read",
        ),
        (duckdb.IOException('No files found that match the pattern "x.csv"'), "could not read"),
        (
            duckdb.IOException('the file "x" is not a valid DuckDB database file!'),
            "is corrupt or not",
        ),
        (duckdb.IOException("Corrupt database file: computed checksum 1"), "is corrupt or not"),
        (
            duckdb.OutOfMemoryException("could not allocate block of size 256 KiB"),
            "needs more memory",
        ),
        (
            duckdb.TransactionException("Failed to commit: No space left on device"),
            "no space left on the disk of",
        ),
        (
            duckdb.OutOfMemoryException("failed to offload: max_temp_directory_size is 1 GiB"),
            "no space left on the disk of",
        ),
    ],
)
def test_only_damage_is_called_corrupt(error: duckdb.Error, said: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=said), duckdb_errors(tmp_path / "s.duckdb"):
        raise error


def test_an_error_in_the_query_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(duckdb.BinderException), duckdb_errors(tmp_path / "s.duckdb"):
        raise duckdb.BinderException("no column x")


def test_a_full_disk_is_seen_through_a_library(tmp_path: Path) -> None:
    class SafetensorError(Exception):
        """As safetensors raises it: no OSError."""

    with (
        pytest.raises(StoreError, match="no space left on the disk of"),
        full_disk_as_error(tmp_path),
    ):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    with pytest.raises(ZeroDivisionError), full_disk_as_error(tmp_path):
        raise ZeroDivisionError


def _pool(folder: Path) -> Pool:
    rows = [{"prompt": f"p {i}", "response": f"r {i}"} for i in range(4)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool(folder / "s.duckdb", create=True)
    pool.ingest(str(folder / "pool.jsonl"))
    return pool


@pytest.mark.parametrize("junk", ["{", "[]", "{}", "[" * 200_000])
def test_a_rebuild_leaves_out_what_cannot_be_read(tmp_path: Path, junk: str) -> None:
    pool = _pool(tmp_path)
    pool.score("mtld")
    pool.score("mtld", settings={"mtld.part": "full"})
    kept = pool.select("random", budget="2").id
    lost = pool.select("random", budget="3").id
    damaged = [
        pool.store.parts / "selections" / f"{lost}.json",
        pool.store.parts / "scores" / pool.store.score_sets()[0].set_id / "set.json",
    ]
    for path in damaged:
        assert path.is_file()
        path.write_text(junk)
    report = pool.store.rebuild()
    assert sorted(report["left_out"]) == sorted(map(str, damaged))
    assert (report["n_score_sets"], report["n_selections"], report["n_examples"]) == (1, 1, 4)
    assert pool.selection(kept).id == kept


def test_a_rebuild_keeps_the_order_of_the_score_sets(tmp_path: Path, monkeypatch: Any) -> None:
    pool = _pool(tmp_path)
    for part, clock in (
        ("response", "2026-02-02"),
        ("full", "2026-01-01"),
    ):  # the clock was set back
        monkeypatch.setattr("curate.store.scores.sets.utc_now", lambda clock=clock: clock)
        pool.score("mtld", settings={"mtld.part": part})
    before = [one.set_id for one in pool.store.score_sets()]
    pool.store.path.write_bytes(b"junk")
    Store(tmp_path / "t.duckdb")  # another store does not matter
    pool.store.rebuild()
    assert [one.set_id for one in pool.store.score_sets()] == before
    assert (tmp_path / "s.duckdb.old").read_bytes() == b"junk"
