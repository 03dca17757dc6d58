"""The engine of a process: started once, holds no file between two uses, spills where it is told."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from curate.errors import StoreError
from curate.store import Store, engine
from curate.store.engine import attached

LIMIT = "24MiB"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each engine that is started from here on; none is at rest."""
    engine._end_idle()
    found: list[int] = []
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *words: found.append(1) or connect(*words))
    return found


def names(con: duckdb.DuckDBPyConnection) -> set[str]:
    rows = con.execute("select database_name from duckdb_databases()").fetchall()
    return {name for (name,) in rows if name.startswith("store_")}


def test_one_engine_serves_one_store_after_another(
    started: list[int], tmp_path: Path, pools: Any
) -> None:
    for name in ("a", "b"):
        store = Store(tmp_path / name / "curate.duckdb")
        pools.ingest(store, "a", range(30))
        assert store.n_examples() == 30
    assert len(started) == 1


def test_threads_share_a_file_and_the_last_one_lets_it_go(
    started: list[int], tmp_path: Path
) -> None:
    path, spill = tmp_path / "a.duckdb", tmp_path / "spill"
    with attached(path, spill, LIMIT) as con:
        con.execute("create table t as select 7 as x")
        seen: list[Any] = []

        def read() -> None:
            with attached(path, spill, LIMIT) as other:
                seen.extend([other.execute("select x from t").fetchall(), names(other)])

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert seen == [[(7,)], names(con)]
        assert con.execute("select x from t").fetchall() == [(7,)]  # still attached
    assert len(started) == 1
    with attached(None, spill, LIMIT) as con:
        assert len(names(con)) == 1  # its own, empty and in memory
        assert con.execute("show tables").fetchall() == []
    assert list(tmp_path.iterdir()) == [path], "neither a log nor a folder is left"


def test_two_stores_at_once_spill_each_into_its_own_folder(
    started: list[int], tmp_path: Path
) -> None:
    with (
        attached(tmp_path / "a.duckdb", tmp_path / "a", LIMIT) as a,
        attached(tmp_path / "b.duckdb", tmp_path / "b", LIMIT) as b,
    ):
        for con, folder in ((a, "a"), (b, "b")):
            con.execute(
                "create temp table t as select range x, md5(range::varchar) y from range(600000)"
            )
            assert con.execute("select count(distinct y) from t where x < 10").fetchall() == [(10,)]
            assert list((tmp_path / folder).iterdir())
    assert len(started) == 2
    assert not any(p.exists() and list(p.iterdir()) for p in (tmp_path / "a", tmp_path / "b"))
    with attached(tmp_path / "a.duckdb", tmp_path / "c", LIMIT) as con:
        assert con.execute("select current_setting('temp_directory')").fetchall() == [
            (str(tmp_path / "c"),)
        ]


@pytest.mark.parametrize("error", [duckdb.FatalException, duckdb.InternalException])
def test_a_broken_engine_is_not_used_again(
    started: list[int], tmp_path: Path, error: type[duckdb.Error]
) -> None:
    path, spill = tmp_path / "a.duckdb", tmp_path / "spill"
    with pytest.raises(error, match="broken"), attached(path, spill, LIMIT):
        raise error("broken")
    with attached(path, spill, LIMIT) as con:
        con.execute("create table t (x bigint)")
    assert len(started) == 2


@pytest.mark.parametrize("words", ["attach", "detach"])
def test_an_interrupt_while_a_file_is_opened_or_closed_leaves_it_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    path, spill = tmp_path / "a.duckdb", tmp_path / "spill"
    engine._end_idle()

    class Interrupted:
        def __init__(self) -> None:
            self.con = duckdb.connect()

        def execute(self, sql: str) -> Any:
            done = self.con.execute(sql)
            if sql.startswith(words):
                raise KeyboardInterrupt
            return done

        def cursor(self) -> Any:
            return self.con.cursor()

        def close(self) -> None:
            self.con.close()

    made = engine._Engine()
    made.root.close()
    monkeypatch.setattr(made, "root", Interrupted())
    monkeypatch.setattr(engine, "_IDLE", [made])
    with pytest.raises(KeyboardInterrupt), attached(path, spill, LIMIT):
        assert words == "detach"
    with duckdb.connect(str(path)) as con:  # a second instance in one process: the file is free
        con.execute("create table t (x bigint)")
    with attached(path, spill, LIMIT) as con:
        assert con.execute("select count(*) from t").fetchall() == [(0,)]


def test_a_result_that_is_not_read_out_is_said(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    with store.connect() as con:
        relation = con.sql("select e.id from internal.examples e, range(100000)")
        reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
        left = reader(10)
        assert left.read_next_batch().num_rows == 10
    short = Store.__new__(Store)
    short._handle = type(store._handle)(store.path, 0.01)
    with pytest.raises(StoreError, match="a result of this process that was not read to its end"):
        short.n_examples()
    left.close()
    assert store.n_examples() == 30


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_an_engine_of_its_own(started: list[int], tmp_path: Path) -> None:
    path, spill = tmp_path / "a.duckdb", tmp_path / "spill"
    with attached(path, spill, LIMIT) as con:
        con.execute("create table t as select range x from range(500000)")

    def count() -> None:
        with attached(path, spill, LIMIT) as con:
            [[n]] = con.execute("select count(distinct x) from t").fetchall()
        os._exit(0 if n == 500_000 else 1)

    child = multiprocessing.get_context("fork").Process(target=count)
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_an_interrupt_while_duckdb_computes_is_one(tmp_path):
    """DuckDB 2 makes this RuntimeError of a Ctrl-C; commands await Python's own exception."""
    file = tmp_path / "a.duckdb", tmp_path / "spill", "1GiB"
    with pytest.raises(KeyboardInterrupt), attached(*file):
        raise RuntimeError("Query interrupted")
    with pytest.raises(RuntimeError, match="something else"), attached(*file):
        raise RuntimeError("something else")
    with attached(*file) as connection:
        assert connection.execute("select 1").fetchall() == [(1,)]


@pytest.mark.parametrize("how", ["execute", "arrow"])
def test_ctrl_c_stops_a_query_that_computes_for_minutes(tmp_path: Path, how: str) -> None:
    endless = "select sum(hash(a.range * b.range)) from range(100000000) a, range(1000000) b"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt), attached(None, tmp_path, "1GiB") as connection:
            timer.start()
            if how == "execute":
                connection.execute(endless)
            else:
                connection.sql(endless).to_arrow_table()
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert signal.set_wakeup_fd(-1) == -1
    with attached(None, tmp_path, "1GiB") as connection:
        assert connection.execute("select 1").fetchall() == [(1,)]


def test_a_handler_of_ones_own_is_not_made_an_interrupt(tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        with attached(None, tmp_path, "1GiB") as connection:
            os.kill(os.getpid(), signal.SIGINT)
            assert connection.execute("select count(*) from range(1000000)").fetchall() == [
                (1000000,)
            ]
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_who_listened_for_signals_before_still_hears_them(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    previous = signal.set_wakeup_fd(writer)
    try:
        with attached(None, tmp_path, "1GiB"):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert os.read(reader, 8) == bytes([signal.SIGUSR1])
    finally:
        signal.set_wakeup_fd(previous)
        signal.signal(signal.SIGUSR1, before)
        os.close(reader)
        os.close(writer)
