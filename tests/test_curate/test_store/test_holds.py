"""A held store is attached once, and free afterwards, whatever happened inside."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from curate.errors import DataError, StoreError
from curate.store import Store, engine, schema

OPEN = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('select 1'); print('opened')"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was attached (the file) and detached (the name) since, in order."""
    seen: list[str] = []
    attach, detach = engine._Engine.attach, engine._Engine.detach

    def attached(self: Any, path: str, options: str) -> str:
        if path not in self._attached:
            seen.append(f"attach {Path(path).name}")
        return attach(self, path, options)

    def detached(self: Any, path: str) -> None:
        detach(self, path)
        if path not in self._attached:
            seen.append(f"detach {Path(path).name}")

    monkeypatch.setattr(engine._Engine, "attach", attached)
    monkeypatch.setattr(engine._Engine, "detach", detached)
    return seen


def is_free(store: Store) -> bool:
    """Whether another process can open the file."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(store.path)], capture_output=True, text=True, check=False
    )
    return done.stdout == "opened\n"


def test_a_held_file_is_attached_once_and_asked_once_where_it_is(
    store: Store, pools: Any, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "a", range(30))
    asked: list[Path] = []
    real = schema.is_elsewhere

    def is_elsewhere(con: duckdb.DuckDBPyConnection, parts: Path) -> bool:
        asked.append(parts)
        return real(con, parts)

    monkeypatch.setattr(schema, "is_elsewhere", is_elsewhere)
    statements.clear()
    with store.held():
        assert statements == []  # nothing is opened before it is needed
        for _ in range(3):
            assert store.n_examples() == 30
        with store.held(), store.write() as con:
            schema.set_meta(con, "note", "kept")
        assert store.pool_hash()
        assert statements == ["attach curate.duckdb"]
    assert statements == ["attach curate.duckdb", "detach curate.duckdb"]
    assert len(asked) == 1
    store.n_examples()
    assert len(asked) == 2, "after the hold it is asked again"


def test_after_the_hold_the_file_is_whole_and_another_process_opens_it(
    store: Store, pools: Any, tmp_path: Path
) -> None:
    with store.held():
        pools.ingest(store, "a", range(30))
        pools.score(store, "x")
        assert not is_free(store)
    assert is_free(store)
    assert not list(tmp_path.glob("*.wal"))
    shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    copied = Store(tmp_path / "copy" / "curate.duckdb")
    assert copied.n_examples() == 30
    assert [status.complete for status in copied.score_sets()] == [True]


def test_an_error_inside_releases_the_file(store: Store, statements: list[str]) -> None:
    with pytest.raises(DataError), store.held():
        store.n_examples()
        store.example("nothing")
    assert statements[-1] == "detach curate.duckdb"
    assert statements.count("attach curate.duckdb") == statements.count("detach curate.duckdb")


def test_sql_that_somebody_typed_runs_inside_in_its_jail(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    with store.held():
        store.n_examples()
        assert store.query("select count(*) as n from rows")["n"].to_pylist() == [30]
        with pytest.raises(Exception, match="reads something outside the store"):
            store.query("select * from read_csv('/etc/passwd')")
        assert store.read("select count(*) as n from rows")["n"].to_pylist() == [30]
        assert store.n_examples() == 30


def test_threads_use_what_one_of_them_holds(
    store: Store, pools: Any, statements: list[str]
) -> None:
    pools.ingest(store, "a", range(30))
    statements.clear()
    seen: list[Any] = []

    def read() -> None:
        with store.held():
            seen.append(store.n_examples())
        seen.append(store.query("select count(*) as n from rows")["n"].to_pylist())

    with store.held():
        store.n_examples()
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert store.n_examples() == 30
    assert seen == [30, [30]]
    assert statements == ["attach curate.duckdb", "detach curate.duckdb"] * 2


def test_a_broken_engine_is_let_go_of_inside_a_hold(
    store: Store, pools: Any, statements: list[str]
) -> None:
    pools.ingest(store, "a", range(30))
    statements.clear()
    with store.held():
        with pytest.raises(StoreError, match="corrupt"), store.connect():
            raise duckdb.FatalException("INTERNAL Error: broken")
        assert statements == ["attach curate.duckdb", "detach curate.duckdb"]
        assert store.n_examples() == 30


def test_a_moved_store_is_read_and_mended_inside_a_hold(
    store: Store, pools: Any, tmp_path: Path
) -> None:
    pools.ingest(store, "a", range(30))
    (tmp_path / "new").mkdir()
    for name in ("curate.duckdb", "curate.parts"):
        shutil.move(tmp_path / name, tmp_path / "new" / name)
    moved = Store(tmp_path / "new" / "curate.duckdb")
    with moved.held():
        for _ in range(2):  # relations of a moved store are made for each connection
            assert moved.read("select count(*) as n from examples")["n"].to_pylist() == [30]
        with moved.write():
            pass
        assert moved.read("select count(*) as n from examples")["n"].to_pylist() == [30]
    with moved.connect() as con:
        assert not schema.is_elsewhere(con, moved.parts)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_a_process_that_holds_a_store_begins_without_it(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    with store.held():
        store.n_examples()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if store.n_examples() == 30 and store.n_examples() == 30 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert store.n_examples() == 30
    assert is_free(store)
