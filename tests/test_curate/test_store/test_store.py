"""The documented relations, queries, and opening a store that is not right."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from curate.errors import ConfigError, StoreError
from curate.store import Store, connection, engine, schema

RELATIONS = {
    "examples": "id n_rows source group_id messages prompt response n_chars",
    "rows": "dataset position id external_id source",
    "score_sets": "set_id alias scorer version config model spec created_at n_examples n_failed "
    "tokens wall_s device content_hash",
    "vectors": "set_id id vector",
    "failures": "id set_id reason",
    "selections": "selection_id method config budget seed counts created_at manifest",
    "selection_rows": "selection_id id rank gain weight reason",
    "revisions": "id parent_id selection_id confidence",
}

HOLDER = """
import sys, time, duckdb
con = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def _hold(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_relations_of_an_empty_store_have_the_documented_columns(store: Store) -> None:
    for name, columns in RELATIONS.items():
        table = store.read(f"select * from {name}")
        assert table.column_names == columns.split()
        assert table.num_rows == 0
    assert store.read("select * from scores").column_names == ["id"]


def test_relations_of_a_filled_store_have_the_documented_columns(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(300))
    pools.score(store, "first")
    pools.score(store, "embedding", vector=True)
    for name, columns in RELATIONS.items():
        assert store.read(f"select * from {name}").column_names == columns.split()
    assert store.read("select * from scores").column_names == ["id", "first", "embedding"]
    found = store.read("select id, first.x, embedding.vector from scores where first.n > 0")
    assert found.num_rows > 250


def test_score_set_macro_gives_exactly_that_set(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(300))
    scored = pools.score(store, "first")
    vectors = pools.score(store, "embedding", vector=True)
    table = store.read(f"select * from score_set('{scored.set_id}')")
    assert table.column_names == ["id", "x", "n", "even", "label", "losses"]
    failed = store.read("select count(*) as n from failures where reason = 'non_finite'")
    assert table.num_rows == 300 - failed["n"][0].as_py() / 2
    assert store.read(f"select * from score_set('{vectors.set_id}')").column_names == [
        "id",
        "vector",
    ]
    assert store.read("select distinct set_id from vectors")["set_id"].to_pylist() == [
        vectors.set_id
    ]


def test_scores_shows_a_set_only_once_it_covers_the_pool(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(300))
    pools.score(store, "first")
    pools.ingest(store, "b", range(300, 310))
    assert store.read("select * from scores").column_names == ["id"]
    assert not store.score_sets()[0].complete
    pools.score(store, "first")
    assert store.read("select * from scores").column_names == ["id", "first"]
    assert store.score_sets()[0].complete


@pytest.mark.parametrize(
    "sql",
    [
        "drop table failures",
        "select 1; select 2",
        "copy (select 1) to 'x.csv'",
        "",
        "attach 'x'",
        "explain analyze delete from selections",
        "EXPLAIN /**/ ANALYZE copy (select 1) to 'x.csv'",
    ],
)
def test_query_refuses_all_but_one_reading_statement(store: Store, sql: str) -> None:
    with pytest.raises(ConfigError, match="only one read-only statement"):
        store.query(sql)


def test_query_says_how_it_would_answer(store: Store) -> None:
    assert store.query("explain select * from scores").num_rows > 0


def test_query_explains_a_wrong_statement(store: Store) -> None:
    with pytest.raises(ConfigError, match="cannot run 'select nothing from examples'"):
        store.query("select nothing from examples")


def test_file_has_the_storage_version_old_readers_know(store: Store) -> None:
    with store.connect() as con:
        tags = con.execute(
            "select tags from duckdb_databases() where database_name = current_database()"
        ).fetchall()[0][0]
    assert str(tags["storage_version"]).startswith(connection.STORAGE_VERSION)


def test_nothing_holds_the_file_after_a_call(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    with _hold(store.path, 0) as process:
        assert process.wait() == 0


def test_commit_waits_for_another_process(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(300))
    score_set = pools.write_parts(store, "first")
    shards = [shard.shard_id for shard in store.shards()]
    with _hold(store.path, 1.0) as process:
        store.commit_parts(score_set, shards)
        assert process.wait() == 0
    assert store.finish(score_set).complete


def test_a_held_file_is_one_error_with_the_holder(store: Store) -> None:
    impatient = Store(store.path, wait_s=0.2)
    with _hold(store.path, 30) as process:
        try:
            start = time.monotonic()
            with pytest.raises(
                StoreError, match=rf"is held by process {process.pid} .*within 0.2 s"
            ):
                impatient.n_examples()
            assert time.monotonic() - start < 20
        finally:
            process.kill()


def test_a_corrupt_file_says_how_to_rebuild_it(tmp_path: Path) -> None:
    path = tmp_path / "curate.duckdb"
    path.write_bytes(b"not a database " * 1000)
    with pytest.raises(StoreError, match=r"is corrupt or not a store .*curate doctor --rebuild"):
        Store(path)


def test_a_damaged_header_says_how_to_rebuild_it(store: Store) -> None:
    content = bytearray(store.path.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match="curate doctor --rebuild"):
        Store(store.path)


def test_a_newer_duckdb_file_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played back from what duckdb 1.4 says of a file that only duckdb 2 reads."""

    def refuse(*_: object) -> None:
        raise duckdb.IOException(
            "IO Error: Trying to read a database file with version number 999, but we can only read "
            "versions between 64 and 67.\nThe database file was created with an newer version"
        )

    monkeypatch.setattr(engine, "attached", refuse)
    with pytest.raises(StoreError, match=r"newer version of duckdb .*pip install --upgrade duckdb"):
        store.n_examples()


def test_a_changed_byte_in_the_header_is_said(store: Store) -> None:
    content = bytearray(store.path.read_bytes())
    content[12:20] = (9999).to_bytes(8, "little")
    store.path.write_bytes(content)
    with pytest.raises(StoreError, match="curate doctor --rebuild"):
        Store(store.path)


def test_a_newer_schema_says_so(store: Store) -> None:
    with store.write() as con:
        schema.set_meta(con, "schema_version", "99")
    with pytest.raises(StoreError, match=r"newer version of curate .*99.*pip install --upgrade"):
        Store(store.path)


def test_another_duckdb_file_is_not_a_store(tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(StoreError, match="is a DuckDB file, but not a store"):
        Store(path)


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder, not a store"):
        Store(tmp_path)


def test_an_absent_store_is_created_only_on_request(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at .*curate ingest DATA"):
        Store(tmp_path / "curate.duckdb", create=False)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_of_parts_is_said(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    shutil.rmtree(store.parts)
    with pytest.raises(StoreError, match=r"the folder of parts .*curate.parts is missing"):
        Store(store.path)


def test_a_missing_database_beside_parts_is_said(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    store.path.unlink()
    with pytest.raises(StoreError, match="holds the parts of one; rebuild it with: curate doctor"):
        Store(store.path)


@pytest.mark.parametrize(
    "text", ["Cannot open file: Permission denied", "open: Read-only file system"]
)
def test_a_read_only_file_is_said(store: Store, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Root may write anything, so DuckDB's own refusal is played back instead of provoked."""

    def refuse(*_: object) -> None:
        raise duckdb.IOException(f"IO Error: {text}")

    monkeypatch.setattr(engine, "attached", refuse)
    with pytest.raises(StoreError, match="it is read-only here; make the file and its folder"):
        store.n_examples()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write a read-only file")
def test_a_really_read_only_file_is_read(store: Store) -> None:
    store.path.chmod(0o444)
    assert store.n_examples() == 0
    with pytest.raises(StoreError, match="it is read-only here"), store.write():
        pass


def test_a_store_on_read_only_media_answers_wherever_it_is(
    store: Store, pools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anything, so only what asks for leave to write is told no."""
    pools.ingest(store, "a", range(300))
    set_id = pools.score(store, "embedding", vector=True).set_id
    n_scored = 300 - store.score_sets()[0].n_failed
    hashed = store.pool_hash()
    shutil.copytree(tmp_path, tmp_path / "disc", ignore=shutil.ignore_patterns("disc"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "disc").rglob("*")}
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.R_OK)
    store.parts.rename(tmp_path / "not mounted here")
    disc = Store(tmp_path / "disc" / store.path.name, create=False)
    assert disc.query("select prompt from examples").num_rows == 300
    assert disc.query(f"select * from score_set('{set_id}')").num_rows == n_scored
    assert disc.query("select * from vectors").num_rows == n_scored
    assert disc.query("select embedding.vector from scores").num_rows == 300
    assert (disc.status()["n_examples"], disc.pool_hash()) == (300, hashed)
    assert disc.vectors(set_id, "vector").array.shape[0] == n_scored
    with pytest.raises(StoreError) as caught, disc.write():
        pass
    assert str(caught.value) == (
        f"cannot write {disc.path}: it is read-only here; make the file and its folder writable for "
        "this user, or copy the store (the file and its .parts folder) to a writable folder"
    )
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "disc").rglob("*")} == before


def test_a_store_under_two_paths_serves_both(store: Store, pools: Any, tmp_path: Path) -> None:
    pools.ingest(store, "a", range(300))
    set_id = pools.score(store, "embedding", vector=True).set_id
    n_scored = 300 - store.score_sets()[0].n_failed
    (tmp_path / "mount").symlink_to(store.path.parent)
    inside = Store(tmp_path / "mount" / store.path.name)
    inside.status()
    with duckdb.connect(str(store.path), read_only=True) as own:
        [(names,)] = own.execute(
            "select string_agg(sql) from duckdb_views() where view_name = 'examples'"
        ).fetchall()
        assert f"{store.parts}/" in names and "mount" not in names
    pools.ingest(inside, "b", range(300, 350))  # its relations name its own path now
    for one in (store, inside):
        assert one.query("select prompt from examples").num_rows == 350
        assert one.query("select * from rows").num_rows == 350
        assert one.query(f"select * from score_set('{set_id}')").num_rows == n_scored


def test_a_session_goes_on_while_the_other_path_writes_and_the_folder_moves(
    store: Store, pools: Any, tmp_path: Path
) -> None:
    """As on a host and in a container at once; then the folder is renamed, used there, and put back."""
    home = tmp_path / "host"
    home.mkdir()
    pools.ingest(store, "a", range(120))
    for part in (store.path, store.parts):
        part.rename(home / part.name)
    (tmp_path / "container").symlink_to(home)
    here, there = (Store(tmp_path / name / "curate.duckdb") for name in ("host", "container"))
    session = here.snapshot()
    for n, (writer, reader) in enumerate([(there, here), (here, there)]):
        pools.ingest(writer, f"b{n}", range(200 + 10 * n, 210 + 10 * n))
        set_id = pools.score(writer, f"e{n}", vector=True).set_id
        reader.status()  # opening and looking rewrite nothing
        for one in (reader, writer, reader):
            assert one.query("select messages, prompt from examples").num_rows == 130 + 10 * n
            assert one.query("select * from rows").num_rows == 130 + 10 * n
            assert one.vectors(set_id, "vector").array.shape[0] > 100
            assert one.query(f"select e{n}.vector from scores").num_rows == 130 + 10 * n
    assert len(session.ids) == 120
    home.rename(tmp_path / "renamed")
    moved = Store(tmp_path / "renamed" / "curate.duckdb")
    pools.ingest(moved, "c", range(300, 310))
    assert moved.query("select prompt from examples").num_rows == 150
    (tmp_path / "renamed").rename(home)
    for one in (here, there, Store(here.path)):
        assert one.query("select prompt from examples").num_rows == 150
        assert [finding.level for finding in one.check()] == ["ok"]


def test_a_moved_store_still_answers(store: Store, pools: Any, tmp_path: Path) -> None:
    pools.ingest(store, "a", range(300))
    pools.score(store, "embedding", vector=True)
    target = tmp_path / "elsewhere"
    target.mkdir()
    shutil.move(store.path, target / "curate.duckdb")
    shutil.move(store.parts, target / "curate.parts")
    moved = Store(target / "curate.duckdb")
    assert moved.query("select prompt from examples").num_rows == 300
    assert moved.query("select * from rows").num_rows == 300
    assert moved.query("select * from vectors").num_rows > 0


def test_importing_parts_does_not_load_duckdb() -> None:
    code = (
        "import sys, curate.store, curate.store.parts, curate.store.expressions; "
        "sys.exit('duckdb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
