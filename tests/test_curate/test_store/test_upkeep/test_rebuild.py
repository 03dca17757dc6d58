"""A store is rebuilt while others want to use it, and after examples were forgotten."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curate.errors import StoreError
from curate.store import Store
from curate.store.upkeep import rebuild

OPEN = "import duckdb, sys; duckdb.connect(sys.argv[1])"


def test_nobody_adds_to_a_file_that_is_about_to_be_replaced(
    store: Store, pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "a", range(30))
    fill, tried = rebuild._fill, []

    def while_others_try(*given: Any) -> Any:
        words = [sys.executable, "-c", OPEN, str(store.path)]
        tried.append(subprocess.run(words, capture_output=True, text=True, check=False).stderr)
        return fill(*given)

    monkeypatch.setattr(rebuild, "_fill", while_others_try)
    store.rebuild()
    assert "Could not set lock on file" in tried[0]
    assert pools.ingest(store, "b", range(30, 60)).n_added == 30


@pytest.mark.parametrize("file", ["whole", "no store", "missing"])
def test_a_rebuilt_store_takes_forgotten_examples_out_of_late_parts(
    store: Store, pools: Any, file: str
) -> None:
    pools.ingest(store, "a", range(30))
    made = pools.write_parts(store, "first")
    [late] = made.folder.glob("*.parquet")
    content = late.read_bytes()
    store.forget("n_chars < 10")
    late.write_bytes(content)  # by a job that had read its shard before
    if file != "whole":
        store.path.unlink()
    if file == "no store":
        store.path.write_bytes(b"no DuckDB file at all" * 300)
    assert store.rebuild()["left_out"] == []
    assert [status.n_examples for status in store.score_sets()] == [20]


def test_a_store_that_never_forgot_is_none_that_did(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    store.rebuild()
    assert store.read("select * from internal.meta where key = 'forgotten'").num_rows == 0


def test_a_file_that_another_process_has_is_not_rebuilt(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    hold = f"{OPEN.replace('duckdb.connect', 'c = duckdb.connect')}; print(1, flush=True); input()"
    words = [sys.executable, "-c", hold, str(store.path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreError, match="is held by process"):
            rebuild.rebuild(store.path, wait_s=0.1)
        holder.communicate(b"\n")
    assert not list(Path(store.path.parent).glob(".*.tmp-*"))
