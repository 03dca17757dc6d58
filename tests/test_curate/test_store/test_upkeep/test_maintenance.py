"""Forgetting, collecting, checking, and the status."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import ExpressionError, StoreError
from curate.store import Store
from curate.store.parts import TMP_MARK, owner, owner_is_dead, read_part, write_part
from curate.store.upkeep.rebuild import rebuild


def _select(store: Store, pools: Any, numbers: range) -> None:
    n = len(numbers)
    table = pa.table(
        {
            "id": [pools.id(f"e{i}") for i in numbers],
            "rank": range(n),
            "gain": [1.0] * n,
            "weight": pa.nulls(n, pa.float64()),
            "reason": ["because"] * n,
        }
    )
    store.save_selection({"selection_id": "sel", "method": "random", "counts": {"n": n}}, table)


@pytest.mark.slow
def test_forgotten_examples_are_nowhere_but_in_selections(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(300))
    pools.ingest(store, "b", range(250, 350))
    pools.score(store, "first")
    pools.score(store, "embedding", vector=True)
    _select(store, pools, range(5, 15))
    where = "n_chars < 10 or n_chars between 260 and 269"
    counted = store.forget(where, dry_run=True)
    assert counted == {"n_examples": 20, "n_rows": 30, "n_selected": 5, "dry_run": True}
    assert store.n_examples() == 350
    assert store.forget(where) == {**counted, "dry_run": False}
    gone = {pools.id(f"e{i}") for i in [*range(10), *range(260, 270)]}
    for relation in ("examples", "rows", "scores", "vectors", "failures"):
        assert not gone & set(store.read(f"select id from {relation}")["id"].to_pylist())
    for path in store.parts.rglob("*.parquet"):
        table = pq.read_table(path)
        if "id" in table.column_names and path.parent.name != "selections":
            assert not gone & set(table["id"].to_pylist()), path
        if "record" in table.column_names:
            assert not {b"raw 3", b"raw 265"} & set(table["record"].to_pylist())
    assert store.raw_records("b", [0, 99])["record"].to_pylist() == [b"raw 250", b"raw 349"]
    assert store.selection("sel")["n_forgotten"] == 5
    assert store.status()["selections"][0]["n_forgotten"] == 5
    assert [f.level for f in store.check()] == ["ok"]
    hashes = [s.content_hash for s in store.score_sets()]
    assert all(s.complete for s in store.score_sets())
    rebuild(store.path)
    assert [s.content_hash for s in store.score_sets()] == hashes


def test_forgetting_nobody_or_nonsense(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    before = store.pool_hash()
    assert store.forget("n_chars < 0")["n_examples"] == 0
    assert store.pool_hash() == before
    with pytest.raises(ExpressionError, match="unknown column 'chars'"):
        store.forget("chars < 3")


def test_forgetting_everybody_leaves_an_empty_pool(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    pools.score(store, "first")
    store.forget("true")
    assert store.n_examples() == 0
    assert store.shards() == []
    assert store.read("select * from examples").num_rows == 0
    assert pools.ingest(store, "b", range(10)).n_added == 10


def test_collection_takes_what_nobody_owns(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    pools.score(store, "embedding", vector=True)
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    host = owner().rpartition("-")[0]
    orphans = [
        store.parts / "examples" / "killed" / "shard-00000.parquet",
        store.parts / "rows" / "killed.parquet",
        store.parts / "scores" / ("0" * 16) / "a-00000.parquet",
        store.parts / "scores" / f".x.parquet{TMP_MARK}{host}-{dead}",
    ]
    living = store.parts / "scores" / f".y.parquet{TMP_MARK}{owner()}"
    for path in [*orphans, living]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
    assert owner_is_dead(orphans[-1])
    assert not owner_is_dead(living)
    found = store.gc(dry_run=True)
    assert found["n_paths"] == 5  # the cached vectors too
    assert all(path.exists() for path in orphans)
    assert {f.check for f in store.check()} == {"orphan"}
    assert store.gc() == {**found, "dry_run": False}
    assert not any(path.exists() for path in orphans)
    assert living.exists()
    assert store.n_examples() == 30
    assert store.read("select * from vectors").num_rows > 0


def test_finishing_a_score_set_sweeps_the_half_written_parts_of_dead_processes(
    store: Store, pools: Any
) -> None:
    pools.ingest(store, "p", range(30))
    score_set = pools.write_parts(store, "a")
    host = owner().rpartition("-")[0]
    abandoned = score_set.folder / f".x.parquet{TMP_MARK}{host}-999999999"
    living = score_set.folder / f".y.parquet{TMP_MARK}{owner()}"
    for path in (abandoned, living):
        path.write_bytes(b"half")
    store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
    store.finish(score_set)
    assert not abandoned.exists()
    assert living.exists()


def test_a_staging_folder_of_a_dead_process_goes_when_the_store_is_opened(store: Store) -> None:
    host = owner().rpartition("-")[0]
    staging = store.parts / f".staging-a{TMP_MARK}{host}-999999999"
    staging.mkdir()
    Store(store.path)
    assert not staging.exists()


def test_check_names_missing_and_uncommitted_parts(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(600))
    pools.score(store, "first")
    pools.write_parts(store, "second")
    shard = store.shards()[0]
    shard.path.unlink()
    findings = {f.check: f for f in store.check()}
    assert findings["missing"].message == f"{shard.path} is missing"
    assert "parts of score set" in findings["uncommitted"].message
    assert findings["uncommitted"].action == "curate commit"


def test_status_is_one_json_document(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(300))
    pools.score(store, "first")
    _select(store, pools, range(5))
    status = json.loads(json.dumps(store.status()))
    assert (status["n_examples"], status["n_rows"], status["n_groups"]) == (300, 300, 100)
    assert status["datasets"][0]["n_added"] == 300
    assert status["score_sets"][0]["complete"] is True
    assert len(status["score_sets"][0]["content_hash"]) == 32
    assert status["selections"][0]["n_selected"] == 5
    assert status["bytes"]["examples"] > 0


def test_a_part_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set" / "a-00000.parquet"
    table = pa.table({"id": ["x"], "failure": pa.nulls(1, pa.string())})
    write_part(path, table, {"tokens": 3})
    found, metadata = read_part(path)
    assert found.equals(table)
    assert metadata == {"tokens": 3}
    before = path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_part(path, table, {"tokens": 4})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anything, so the system's refusal is played back instead of provoked."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError, match="it is read-only here"):
        write_part(tmp_path / "p.parquet", pa.table({"id": ["x"]}), {})


class Listing:
    """What `os.scandir` returned before something went."""

    def __init__(self, entries: Iterable[os.DirEntry[str]]) -> None:
        self._entries = iter(list(entries))

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        return self._entries

    def __next__(self) -> os.DirEntry[str]:
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize("nth", [1, 2])
def test_a_shard_that_is_finished_meanwhile_is_no_error_of_status_check_or_collection(
    store: Store, pools: Any, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    pools.ingest(store, "a", range(30))
    [shard] = store.shards()
    folder = store.parts / "cache" / "unfinished" / shard.shard_id
    scandir, n_seen = os.scandir, 0

    def finished_once_seen(path: Any = ".") -> Any:
        nonlocal n_seen
        if Path(path) != folder:
            return scandir(path)
        listing, n_seen = Listing(scandir(path)), n_seen + 1
        if n_seen == nth:
            (folder / "pass" / "batches.parquet").unlink()
            (folder / "pass").rmdir()
        return listing

    for look in (
        lambda: store.status()["bytes"]["cache"], store.check, lambda: store.check(deep=True),
        lambda: store.gc(dry_run=True)["n_paths"],
    ):  # fmt: skip
        (folder / "pass").mkdir(parents=True, exist_ok=True)
        (folder / "pass" / "batches.parquet").write_bytes(b"half")
        n_seen = 0
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", finished_once_seen)
            look()
        assert n_seen > 0


def test_what_an_ingest_is_writing_is_not_taken_for_damage(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    staged = store.parts / f".staging-b{TMP_MARK}{owner()}-00000000" / "rows.parquet"
    staged.parent.mkdir()
    staged.write_bytes(b"PAR1 and no end yet")
    assert [finding.level for finding in store.check(deep=True)] == ["ok"]
