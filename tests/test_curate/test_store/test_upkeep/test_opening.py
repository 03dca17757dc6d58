"""Opening a store removes what dead processes left half done in it, and nothing else."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from curate.store import Store, locks
from curate.store.parts import LOCK, TMP_MARK, owner
from curate.store.upkeep import forget

HOST = owner().rpartition("-")[0]
DEAD = f"{TMP_MARK}{HOST}-999999999"


def test_files_and_folders_of_dead_processes_go(store: Store) -> None:
    parts = store.parts
    files = [
        parts.parent / f".{store.path.name}{DEAD}",
        parts.parent / f".{store.path.name}{DEAD}.wal",
        parts / f".selection-names.json{DEAD}",
        parts / "datasets" / f".a.json{DEAD}",
        parts / "selections" / f".a.parquet{DEAD}",
        parts / "cache" / "scopes" / f".a.parquet{DEAD}",
        parts / "runs" / "trial" / f".record.json{DEAD}",
    ]
    folders = [
        parts / f".staging-a{DEAD}-0123abcd",
        parts / "selections" / f".a.jsonl{DEAD}-0123abcd",
    ]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    for path in folders:
        (path / "raw").mkdir(parents=True)
    Store(store.path)
    assert [path for path in (*files, *folders) if path.exists()] == []


def test_what_a_living_process_or_another_machine_writes_stays(store: Store) -> None:
    living = store.parts / "datasets" / f".a.json{TMP_MARK}{owner()}"
    elsewhere = store.parts / "datasets" / f".b.json{TMP_MARK}elsewhere-1"
    locked = store.parts / "datasets" / f".c.json{DEAD}"
    staging = store.parts / f".staging-a{DEAD}-0123abcd"
    mine = store.path.with_name(f".notes{DEAD}")  # not of this store
    for path in (living, elsewhere, locked, mine):
        path.write_bytes(b"half")
    staging.mkdir()
    with locks.held(locked), locks.held(staging / LOCK):
        Store(store.path)
    for path in (living, elsewhere, locked, staging, mine):
        assert path.exists()
    Store(store.path)
    assert not locked.exists() and not staging.exists()


def test_forgetting_goes_on_after_a_kill_although_the_store_was_moved(
    store: Store, pools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "a", range(30))
    moved = tmp_path / "moved" / store.path.name
    moved.parent.mkdir()
    shutil.copy(store.path, moved)
    shutil.copytree(store.parts, moved.with_name(store.parts.name))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(forget, "_delete", killed)  # once the files are gone
        Store(moved).forget("true")
    opened = Store(moved)
    assert opened.n_examples() == 0
    assert [f.level for f in opened.check()] == ["ok"]
    assert os.listdir(opened.parts / "forgotten") == []


def test_a_store_is_made_where_files_have_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on exFAT, and on what other systems share."""

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    assert Store(tmp_path / "curate.duckdb").n_examples() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curate.duckdb", "curate.parts"]
