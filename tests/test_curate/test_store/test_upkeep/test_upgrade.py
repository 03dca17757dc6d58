"""A store of an earlier schema is built anew when it is opened, and its file kept as it was."""

import shutil
import signal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from curate.errors import StoreError
from curate.store import Store, connection, locks, schema
from tests.forked import Forked
from tests.killed_upgrade import open_and_die

BACKUP = Path("curate.duckdb").with_suffix(".duckdb.schema-1")


@pytest.fixture
def filled(store: Store, pools: Any) -> Store:
    """A store with two datasets, scores and a selection."""
    for name, numbers in (("a", range(90)), ("b", range(60, 120))):
        pools.ingest(store, name, numbers)
    pools.score(store, "numbers")
    pools.score(store, "embedding", vector=True)
    ids = store.read("select id from examples order by id limit 5")["id"].to_pylist()
    rows = pa.table({"id": ids, "rank": range(5), "gain": [1.0] * 5, "weight": [None] * 5,
                     "reason": ["r"] * 5})  # fmt: skip
    store.save_selection({"selection_id": "0123456789abcdef", "method": "by-hand"}, rows)
    return store


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> int:
    """A version of curate whose schema is one later."""
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    return schema.SCHEMA_VERSION


def contents(store: Store) -> list[Any]:
    sets = [[s.set_id, s.alias, s.content_hash, s.complete] for s in store.score_sets()]
    tables = [
        store.read(f"select * from {name} order by all").to_pylist()
        for name in ("examples", "rows", "scores", "vectors", "failures", "selection_rows")
    ]
    return [store.pool_hash(), sets, *tables]


def version_of(path: Path) -> tuple[str, int]:
    """Return the schema of a DuckDB file, and how many examples it holds, as anybody may look."""
    with duckdb.connect(str(path), read_only=True) as con:
        [(version,)] = con.execute(
            "select value from internal.meta where key = 'schema_version'"
        ).fetchall()
        [(n,)] = con.execute("select count(*) from internal.examples").fetchall()
    return version, n


def test_an_older_schema_is_upgraded_and_the_file_kept(
    filled: Store, later: int, caplog: pytest.LogCaptureFixture
) -> None:
    before, backup = contents(filled), filled.path.with_suffix(".duckdb.schema-1")
    manifest = filled.parts / "datasets" / "b.json"
    manifest.unlink()  # an ingest was killed before it wrote this, and the store not opened since
    assert contents(Store(filled.path)) == before
    assert manifest.exists()
    [said] = caplog.messages
    assert said == (
        f"upgraded {filled.path} from schema 1 to {later}; the file as it was is kept as "
        f"{backup.name}"
    )
    assert version_of(filled.path) == (str(later), 120)
    assert version_of(backup) == ("1", 120)
    written = backup.read_bytes()
    Store(filled.path)
    assert len(caplog.messages) == 1
    assert backup.read_bytes() == written
    assert not list(filled.path.parent.rglob(".*claim")) + list(filled.path.parent.glob(".*"))


def test_the_kept_file_is_the_store_of_before(filled: Store, monkeypatch: Any) -> None:
    before = contents(filled)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA_VERSION", 2)
        Store(filled.path)
    with pytest.raises(StoreError, match=r"its schema is 2, this one reads up to 1\); update with"):
        Store(filled.path)
    filled.path.with_suffix(".duckdb.schema-1").replace(filled.path)
    assert contents(Store(filled.path)) == before


@pytest.mark.slow
def test_a_killed_upgrade_begins_again(
    filled: Store, tmp_path: Path, later: int, monkeypatch: Any
) -> None:
    made, step = tmp_path / "made", 0
    made.mkdir()
    for part in (filled.path, filled.parts):
        part.rename(made / part.name)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "SCHEMA_VERSION", 1)
        before = contents(Store(made / "curate.duckdb"))
    while True:
        folder = shutil.copytree(made, tmp_path / f"killed-{step}")
        killed = Forked(open_and_die, folder / "curate.duckdb", step, folder=tmp_path)
        out = killed.communicate(60)
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, out
        assert contents(Store(folder / "curate.duckdb")) == before, step
        assert version_of(folder / "curate.duckdb") == (str(later), 120)
        assert version_of(folder / BACKUP) == ("1", 120)
        assert not list(folder.glob(".*.tmp-*"))
        step += 1
    assert step >= 8


def test_one_process_upgrades_at_a_time(filled: Store, later: int) -> None:
    with locks.claimed(filled.parts / ".upgrade.claim"), pytest.raises(StoreError) as caught:
        Store(filled.path)
    assert str(caught.value) == (
        f"another process upgrades {filled.path} to schema {later}; wait until it is done, and run the "
        "same command again"
    )
    assert version_of(filled.path)[0] == "1"


def test_what_cannot_be_written_is_not_upgraded(filled: Store, later: int, monkeypatch) -> None:
    monkeypatch.setattr(connection, "is_read_only", lambda _path: True)
    with pytest.raises(StoreError) as caught:
        Store(filled.path)
    assert str(caught.value) == (
        f"{filled.path} was written by an earlier version of curate (its schema is 1, this one writes "
        f"{later}) and cannot be upgraded where it is read-only; copy the store (the file and its "
        ".parts folder) to a writable folder"
    )
