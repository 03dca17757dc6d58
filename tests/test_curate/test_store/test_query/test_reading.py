"""SQL that somebody typed reads the store, changes nothing and sees nothing else."""

import threading
from pathlib import Path
from typing import Any

import pytest

from curate.errors import ConfigError, StoreError
from curate.store import Store, gate

CHANGES = (
    "with t as (delete from internal.examples returning id) select count(*) from t",
    "with t as (insert into failures values ('a', 'b', 'c') returning id) select * from t",
    "with t as (update internal.meta set value = 'x' returning key) select * from t",
)


@pytest.mark.parametrize("sql", CHANGES)
def test_a_change_inside_a_select_is_refused_and_changes_nothing(
    store: Store, pools: Any, sql: str
) -> None:
    pools.ingest(store, "a", range(30))
    before = store.status()
    with pytest.raises(ConfigError, match="may only read; write a SELECT over examples, rows"):
        store.query(sql)
    assert store.status() == before


@pytest.mark.parametrize(
    "source", ["read_csv('{}')", "'{}'", "read_text('{}')", "glob('{}')", "read_blob('{}')"]
)
def test_a_file_outside_the_store_cannot_be_read(store: Store, tmp_path: Path, source: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(ConfigError, match=r"reads something outside the store .*a query may read"):
        store.query(f"select * from {source.format(secret)}")


def test_a_neighbour_whose_name_begins_like_the_parts_cannot_be_read(store: Store) -> None:
    beside = store.parts.with_name(store.parts.name + "-else")
    beside.mkdir()
    (beside / "a.csv").write_text("a\n1\n")
    for path in (beside / "a.csv", store.parts / ".." / beside.name / "a.csv"):
        with pytest.raises(ConfigError, match="outside the store"):
            store.query(f"select * from read_csv('{path}')")


def test_a_variable_of_python_cannot_be_read(store: Store) -> None:
    import pyarrow as pa

    secret = pa.table({"a": [1]})
    assert len(secret) == 1
    with pytest.raises(ConfigError, match="secret"):
        store.query("select * from secret")


def test_texts_and_rows_are_read_from_the_parts(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    sql = "select count(*) as n from examples join rows using (id) where length(response) > 0"
    assert store.query(sql).to_pylist() == [{"n": 30}]


def test_what_comes_after_a_query_can_write_again(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    kept = []  # an error that is still at hand, with all its frames, as in a notebook
    for sql in ("select * from read_csv('/etc/hostname')", "select cast(id as date) from examples"):
        with pytest.raises(ConfigError) as refused:
            store.query(sql)
        kept.append(refused)
    store.query("select 1")
    pools.ingest(store, "b", range(30, 60))
    assert store.n_examples() == 60


def test_queries_and_writes_of_many_threads_do_not_disturb_one_another(
    store: Store, pools: Any
) -> None:
    pools.ingest(store, "a", range(30))
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                assert store.query("select count(*) as n from examples").to_pylist()[0]["n"] == 30
                with store.write() as con:
                    con.execute("insert into internal.meta values (?, 'x')", [f"{number}"])
                    con.execute("delete from internal.meta where key = ?", [f"{number}"])
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_query_inside_an_open_connection_says_so_instead_of_waiting_for_ever(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x"
    refused = pytest.raises(StoreError, match="another thread of this process")
    for held in (gate.shared(path), gate.alone(path, 0.01)):
        with held, refused, gate.alone(path, 0.01):
            raise AssertionError("two at once")
    with gate.shared(path), gate.shared(path):
        assert True
