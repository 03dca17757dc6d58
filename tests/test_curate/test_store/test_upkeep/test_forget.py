"""Forgetting, where something else is under way or was killed."""

from pathlib import Path
from typing import Any

import pytest

from curate.store import Store
from curate.store.upkeep import forget


def test_nothing_of_the_forgotten_is_kept_of_a_shard_that_is_being_scored(
    store: Store, pools: Any
) -> None:
    pools.ingest(store, "a", range(600))
    first, second = store.shards()[:2]
    unfinished = store.parts / "cache" / "unfinished"
    for shard in (first, second):
        folder = unfinished / shard.shard_id / "pass"
        folder.mkdir(parents=True)
        (folder / "batches.parquet").write_bytes(b"scores of some examples")
    store.forget("n_chars < 10")  # of the first shard
    assert [path.name for path in unfinished.iterdir()] == [second.shard_id]


def test_what_a_killed_process_began_to_forget_comes_first(
    store: Store, pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "a", range(90))
    write = forget.write_parquet

    def killed(path: Path, table: Any) -> None:
        if path.parent.name == "rows":  # its raw records are in place already
            raise KeyboardInterrupt
        write(path, table)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(forget, "write_parquet", killed)
        store.forget("n_chars < 30")
    assert store.forget("n_chars >= 60")["n_examples"] == 30
    assert store.n_examples() == 30
    positions = store.read("select position from rows order by position")["position"].to_pylist()
    records = store.raw_records("a", positions)["record"].to_pylist()
    assert records == [f"raw {n}".encode() for n in range(30, 60)]
    assert [finding.level for finding in store.check()] == ["ok"]
