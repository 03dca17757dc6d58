"""`curate status --watch` looks again and again, and ends with Ctrl-C as if it were done."""

import json
from itertools import count

import pytest

from curate.store import Store


@pytest.fixture
def looks(monkeypatch):
    """Let Ctrl-C come after two looks."""
    waits = count(1)

    def sleep(seconds):
        assert seconds == 2
        if next(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("curate.cli.watch.time.sleep", sleep)


def test_blocks_follow_each_other_where_there_is_no_terminal(curate, pool_file, looks):
    curate("ingest", pool_file)
    ran = curate("status", "--watch")
    assert ran.code == 0 and ran.err == ""
    said = "curate.duckdb: 26 examples; every score set is complete, and nothing runs"
    assert ran.out.count(said) == 2
    assert "\x1b" not in ran.out


def test_a_terminal_is_redrawn_in_place(curate, pool_file, looks, monkeypatch):
    curate("ingest", pool_file)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ran = curate("status", "--watch")
    assert ran.out.count("\x1b[1F\x1b[J") == 1  # one line up, and clear


def test_json_is_a_document_a_line(curate, pool_file, looks):
    curate("ingest", pool_file)
    ran = curate("status", "--watch", "--json")
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert len(documents) == 2 and documents[0]["n_examples"] == 26
    assert documents[0]["score_sets"] == documents[0]["workers"] == []


def test_what_was_interrupted_is_shown_with_its_workers(
    curate, pool_file, looks, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    curate("ingest", pool_file)
    curate("score", "--scorer", "mtld")
    with Store("curate.duckdb").write() as con:
        con.execute("delete from internal.set_shards")
    [part] = tmp_path.glob("curate.parts/scores/*/*.parquet")
    part.unlink()
    out = curate("status", "--watch").out
    row = next(line for line in out.splitlines() if line.startswith(" mtld"))
    assert " ".join(row.split()).startswith("mtld interrupted 0%, 0 of 26 ")
    assert "workers" in out
    assert "peak MiB" in out
    assert "peak MiB" in curate("status", "--verbose").out
    assert "peak MiB" not in curate("status").out


def test_a_file_that_another_process_holds_is_said_and_waited_for(
    curate, pool_file, looks, monkeypatch
):
    from curate.errors import StoreError

    curate("ingest", pool_file)

    def held(store):
        error = StoreError(
            "curate.duckdb is held by process 7 and was not released within 1 s; wait"
        )
        error.is_held = True
        raise error

    monkeypatch.setattr("curate.scoring.watching.watched", held)
    ran = curate("status", "--watch")
    assert (ran.code, ran.out) == (0, 2 * "curate.duckdb is held by process 7\n\n")


def test_profile_needs_a_run(curate, pool_file):
    curate("ingest", pool_file)
    ran = curate("score", "--scorer", "mtld", "--profile", "traces", "--dry-run")
    assert ran.code == 2
    assert (
        "--profile traces the first shard of a run, and --dry-run runs none; leave one out"
        in ran.err
    )
