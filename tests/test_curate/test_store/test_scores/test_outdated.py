"""Forgetting while a job scores: no part of an older shard stays, and the set can be finished."""

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import ScoreError
from curate.store import ScoreSet, Store
from curate.store.parts import read_part, write_part
from curate.store.upkeep import forget


def ids_on_disk(store: Store) -> set[str]:
    """Return every example id that a part of a score set holds."""
    paths = sorted((store.parts / "scores").glob("*/*.parquet"))
    return {i for path in paths for i in pq.ParquetFile(path).read(["id"])["id"].to_pylist()}


def pool_ids(store: Store) -> set[str]:
    return set(store.read("select id from examples")["id"].to_pylist())


def cut_before(store: Store, pools: Any, alias: str, where: str, **kinds: Any) -> ScoreSet:
    """Write the parts of a job that read its shards before some examples were forgotten."""
    score_set = store.score_set(pools.key(alias), alias, {})
    parts = {shard.shard_id: pools.part(shard, **kinds) for shard in store.shards()}
    store.forget(where)
    for shard_id, table in parts.items():
        write_part(score_set.part(shard_id), table, {"tokens": 7, "wall_s": 1.0, "device": "cpu"})
    return score_set


@pytest.mark.parametrize("kinds", [{}, {"vector": True}])
def test_a_commit_takes_forgotten_examples_out_of_parts(
    store: Store, pools: Any, kinds: dict[str, bool]
) -> None:
    pools.ingest(store, "p", range(600))
    shards = store.shards()
    score_set = cut_before(store, pools, "a", "n_chars < 100", **kinds)
    store.commit_parts(score_set, [shard.shard_id for shard in shards])
    status = store.finish(score_set)
    assert (status.complete, status.n_examples) == (True, 500)
    assert ids_on_disk(store) == pool_ids(store)
    _, facts = read_part(score_set.part(shards[0].shard_id))
    assert facts["tokens"] == 7
    fresh = pools.score(store, "b", **kinds)
    assert store.finish(fresh).content_hash == status.content_hash


def test_the_part_of_a_shard_that_is_gone_goes_too(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(300))
    pools.ingest(store, "q", range(300, 400))
    before = store.shards()
    score_set = cut_before(store, pools, "a", "dataset = 'p'")
    store.commit_parts(score_set, [shard.shard_id for shard in before])
    status = store.finish(score_set)
    assert (status.complete, status.n_examples) == (True, 100)
    assert ids_on_disk(store) == pool_ids(store)
    assert [f.level for f in store.check()] == ["ok"]


def test_parts_of_a_killed_job_lose_what_was_forgotten_when_the_store_is_opened(
    store: Store, pools: Any
) -> None:
    pools.ingest(store, "p", range(300))
    score_set = cut_before(store, pools, "a", "n_chars < 100")
    assert ids_on_disk(store) > pool_ids(store)
    opened = Store(store.path)
    assert ids_on_disk(opened) == pool_ids(opened)
    without, written = opened.pending_shards(score_set, opened.shards())
    assert (len(without), len(written)) == (0, len(opened.shards())), "and are not scored again"


def test_an_unknown_id_is_the_scorers_error_and_is_not_taken_out(store: Store, pools: Any) -> None:
    pools.ingest(store, "p", range(30))
    score_set = store.score_set(pools.key("a"), "a", {})
    [shard] = store.shards()
    extra = pools.part(shard).slice(0, 1)
    extra = extra.set_column(0, "id", pa.array(["f" * 32]))
    table = pa.concat_tables([pools.part(shard), extra])
    write_part(score_set.part(shard.shard_id), table, {})
    with pytest.raises(ScoreError, match="returned 31 rows for 30 examples"):
        store.commit_parts(score_set, [shard.shard_id])


def test_processes_that_carry_out_one_decision_meet_no_missing_file(
    store: Store, pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "p", range(300))
    pools.score(store, "a")
    listed: list[Path] = []
    monkeypatch.setattr(forget, "_carry_out", lambda _store, path: listed.append(path))
    store.forget("n_chars < 50")
    monkeypatch.undo()
    [decision] = listed
    assert decision.exists()
    failed: list[BaseException] = []

    def open_it() -> None:
        try:
            assert Store(store.path).n_examples() == 250
        except BaseException as error:  # noqa: BLE001 - reported by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert not decision.exists()
    forget._carry_out(store._handle, decision)  # one that listed it and came last
    assert ids_on_disk(store) == pool_ids(store)
    assert store.score_sets()[0].complete
