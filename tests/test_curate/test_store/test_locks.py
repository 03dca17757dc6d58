"""Whoever works on something holds a lock, which ends with its process and not with its number."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from curate.errors import StoreError
from curate.store import Dataset, Store, locks
from curate.store.parts import TMP_MARK, atomic_path, owner, owner_is_dead

HOLD = """
import sys, time
from pathlib import Path
from curate.store import locks
with locks.claimed(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
RACE = """
import os, sys, time
from pathlib import Path
from curate.store import locks
claim, inside, n = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for _ in range(n):
    with locks.claimed(claim) as mine:
        if mine:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another one is inside
            inside.unlink()
"""


@pytest.mark.parametrize(
    "left",
    ["", "somewhere_else-1", owner(), "\x00"],
    ids=["nothing", "another host", "this process", "no text"],
)
def test_a_claim_left_by_a_dead_process_is_taken_whatever_it_says(
    tmp_path: Path, left: str
) -> None:
    path = tmp_path / "runs" / "abc.claim"
    path.parent.mkdir()
    path.write_text(left)  # this very process id: a container started again has the same one
    with locks.claimed(path) as mine:
        assert mine
        with locks.claimed(path) as again:
            assert not again
        assert path.exists(), "only its owner gives a claim back"
    assert not path.exists()


def test_the_claim_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "abc.claim"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with locks.claimed(path) as mine:
        assert not mine
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with locks.claimed(path) as mine:
        assert mine


def test_a_claim_has_one_owner_among_processes_that_take_it_and_give_it_back(
    tmp_path: Path,
) -> None:
    words = [sys.executable, "-c", RACE, str(tmp_path / "a.claim"), str(tmp_path / "inside"), "500"]
    (tmp_path / "a.claim").write_text("dead-1")
    racing = [subprocess.Popen(words) for _ in range(4)]
    assert [one.wait() for one in racing] == [0, 0, 0, 0]


def writer(store: Store) -> Any:
    return store.pool_writer(Dataset("a", "a", "jsonl", "messages"), pa.schema([("x", pa.int64())]))


def test_a_running_ingest_keeps_its_staging_folder_whatever_its_process_is_called(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from another process namespace, nobody has the number in the folder's name."""
    host = owner().rpartition("-")[0]
    with monkeypatch.context() as patch:
        patch.setattr("curate.store.pool.writer.owner", lambda: f"{host}-999999999")
        running = writer(store)
    [staging] = store.parts.glob(f".staging-*{TMP_MARK}*")
    Store(store.path)
    store.gc()
    assert staging.exists()
    running.abort()
    assert not staging.exists()


def test_two_ingests_of_one_name_and_number_do_not_share_a_folder(store: Store) -> None:
    with writer(store), writer(store):
        assert len(list(store.parts.glob(".staging-a*"))) == 2


def test_a_killed_ingest_leaves_nothing_although_its_number_is_in_use_again(store: Store) -> None:
    staging = store.parts / f".staging-a{TMP_MARK}{owner()}-00000000"
    staging.mkdir()
    (staging / "lock").touch()  # its owner held it, and is gone
    Store(store.path)
    assert not staging.exists()


def test_a_file_being_written_is_not_swept_whatever_its_process_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = owner().rpartition("-")[0]
    monkeypatch.setattr("curate.store.parts.owner", lambda: f"{host}-999999999")
    with atomic_path(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
        assert not owner_is_dead(temporary)
        os.utime(temporary, (0, time.time() - 10 * 86_400))
        assert not owner_is_dead(temporary)
    temporary.write_text("left")
    assert owner_is_dead(temporary)


@pytest.mark.parametrize("kind", ["flock", "lockf"])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS])
def test_a_store_on_a_file_system_without_locks_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, number: int
) -> None:
    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"curate.store.locks.fcntl.{kind}", unsupported)
    before = sorted(tmp_path.iterdir())
    for path in (store.path, tmp_path / "new" / "curate.duckdb"):
        with pytest.raises(StoreError) as caught:
            Store(path)
        assert str(caught.value) == (
            f"the file system of {path.parent} has no locks ({os.strerror(number)}), which keep two "
            "processes from doing the same work; put the store on one that has, with --store"
        )
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "new"]
    assert not (tmp_path / "new" / "curate.duckdb").exists()
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.R_OK)
    assert Store(store.path).n_examples() == 0, "read-only media need none"


def test_a_full_disk_does_not_pass_for_one_without_locks(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        locks.require(tmp_path / "probe")
    assert Store(store.path).n_examples() == 0


def test_the_file_of_a_lock_is_there_once_it_is_locked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens the store between the two would take the folder for one of a dead process."""
    lock, seen = fcntl.flock, []

    def looked_at_first(descriptor: int, kind: int) -> None:
        if kind & fcntl.LOCK_EX and not seen:
            [staging] = store.parts.glob(f".staging-*{TMP_MARK}*")
            seen.append(owner_is_dead(staging))
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", looked_at_first)
    with writer(store):
        assert seen == [False]
        [staging] = store.parts.glob(f".staging-*{TMP_MARK}*")
        assert sorted(path.name for path in staging.iterdir()) == [
            "examples", "lock", "raw", "rows.parquet", "spill", "staged.parquet",
        ]  # fmt: skip


def test_a_lock_that_appears_during_the_look_is_that_of_a_living_process(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = store.parts / f".staging-a{TMP_MARK}{owner()}-00000000"
    staging.mkdir()
    held, look = locks.held(staging / "lock"), locks.is_held

    def entered_after(path: Path) -> bool:
        found = look(path)
        held.__enter__()
        return found

    monkeypatch.setattr(locks, "is_held", entered_after)
    assert not owner_is_dead(staging)
