"""Ingesting: one example however many rows, groups whole, out of core, atomic, room running out."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import DataError, StoreError
from curate.store import Store
from curate.store.pool import cut
from curate.store.pool.cut import shard_size


def test_equal_rows_are_one_example_with_several_rows(store: Store, pools: Any) -> None:
    counts = pools.ingest(store, "a", [0, 1, 2, 0, 1, 5])
    assert (counts.n_read, counts.n_added, counts.n_duplicate, counts.n_failed) == (6, 4, 2, 0)
    counts = pools.ingest(store, "b", [5, 6, 5])
    assert (counts.n_read, counts.n_added, counts.n_duplicate) == (3, 1, 2)
    rows = store.read("select n_chars as n, n_rows from examples order by n").to_pylist()
    assert [(r["n"], r["n_rows"]) for r in rows] == [(0, 2), (1, 2), (2, 1), (5, 3), (6, 1)]
    assert store.n_examples() == 5
    assert store.n_examples(["b"]) == 2
    first = store.first_rows([pools.id("e5"), pools.id("e0")]).to_pylist()
    assert [(r["dataset"], r["position"]) for r in first] == [("a", 5), ("a", 0)]
    every = store.first_rows([pools.id("e5")], duplicates=True).to_pylist()
    assert [(r["dataset"], r["position"]) for r in every] == [("a", 5), ("b", 0), ("b", 2)]


def test_shards_hold_whole_groups_in_order_of_first_row(store: Store, pools: Any) -> None:
    numbers = list(range(3000))
    random.Random(0).shuffle(numbers)
    pools.ingest(store, "a", numbers)
    shards = store.shards()
    assert [s.shard_id for s in shards] == [f"a-{i:05d}" for i in range(len(shards))]
    owner: dict[str, str] = {}
    order = []
    for shard in shards:
        table = pq.read_table(shard.path)
        assert table.schema.names == cut.SHARD_SCHEMA.names
        assert table.num_rows == shard.n_examples
        for group in table["group_id"].to_pylist():
            assert owner.setdefault(group, shard.shard_id) == shard.shard_id
            order.append(group)
    first_seen = list(dict.fromkeys(pools.id(f"g{n // 3}") for n in numbers))
    assert list(dict.fromkeys(order)) == first_seen
    assert all(abs(s.n_examples - 256) < 3 for s in shards[:-1])


def test_shard_size_grows_with_the_ingest() -> None:
    sizes = [shard_size(n) for n in (1, 256 * 64, 64_000, 10_000_000)]
    assert sizes == [256, 256, 1000, 16_384]


def test_a_group_larger_than_a_shard_makes_a_larger_shard(store: Store, pools: Any) -> None:
    class OneGroup(type(pools)):  # type: ignore[misc]
        group = 1000

    OneGroup().ingest(store, "a", range(1500))
    assert [s.n_examples for s in store.shards()] == [1000, 500]


def test_an_append_never_cuts_old_shards_again(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(600))
    before = {s.shard_id: s.path.read_bytes() for s in store.shards()}
    pools.ingest(store, "b", range(599, 1500))
    after = {s.shard_id: s.path.read_bytes() for s in store.shards()}
    assert {k: after[k] for k in before} == before
    assert all(k.startswith("b-") for k in after.keys() - before.keys())


def test_batch_sizes_do_not_change_the_pool(tmp_path: Path, pools: Any) -> None:
    contents = []
    for rows in (7, 1000):
        store = Store(tmp_path / f"{rows}.duckdb")
        pools.ingest(store, "a", range(600), batch_rows=rows)
        contents.append([s.path.read_bytes() for s in store.shards()])
    assert contents[0] == contents[1]


def test_nothing_is_visible_before_commit_and_nothing_stays_after_abort(
    store: Store, pools: Any
) -> None:
    with store.pool_writer(pools.dataset("a"), pools.raw_schema) as writer:
        writer.append(*pools.batch(range(10), 0))
        assert store.n_examples() == 0
    assert store.n_examples() == 0
    assert not list(store.parts.glob(".staging*"))
    assert pools.ingest(store, "a", range(10)).n_added == 10


def test_a_pool_that_grew_meanwhile_is_taken_into_account(store: Store, pools: Any) -> None:
    with store.pool_writer(pools.dataset("a"), pools.raw_schema) as writer:
        writer.append(*pools.batch(range(10), 0))
        known = writer._known_ids

        def slow() -> str:
            version = known()
            if store.n_examples() == 0:
                pools.ingest(store, "b", range(5, 15))
            return version

        writer._known_ids = slow  # type: ignore[method-assign]
        assert writer.commit().n_added == 5
    assert store.n_examples() == 15
    assert store.read("select sum(n_rows)::int as n from examples")["n"].to_pylist() == [20]


def test_raw_records_come_back_in_the_order_asked_for(store: Store, pools: Any) -> None:
    numbers = list(range(0, 600, 2))
    with store.pool_writer(pools.dataset("a"), pools.raw_schema) as writer:
        for start in range(0, 300, 50):
            batch, raw = pools.batch(numbers[start : start + 50], start)
            positions = pa.array([2 * p for p in batch["position"].to_pylist()], pa.int64())
            writer.append(batch.set_column(0, "position", positions), raw)
            writer.skip(2 * start + 1, f"line {2 * start + 2}", "empty response")
        counts = writer.commit()
    assert (counts.n_read, counts.n_failed) == (306, 6)
    asked = [598, 0, 300]
    records = store.raw_records("a", asked)["record"].to_pylist()
    assert records == [b"raw 598", b"raw 0", b"raw 300"]
    with pytest.raises(DataError, match="dataset 'a' has no row at position 1"):
        store.raw_records("a", [2, 1])
    skipped = pq.read_table(store.parts / "skipped" / "a.parquet").to_pylist()
    assert skipped[0] == {"position": 1, "place": "line 2", "reason": "empty response"}


def test_wrong_batches_are_refused(store: Store, pools: Any) -> None:
    with store.pool_writer(pools.dataset("a"), pools.raw_schema) as writer:
        batch, raw = pools.batch(range(10), 0)
        with pytest.raises(DataError, match="10 examples for 9 input rows"):
            writer.append(batch, raw.slice(1))
        writer.append(batch, raw)
        with pytest.raises(DataError, match="position 0 does not follow the row before it"):
            writer.append(batch, raw)
        bad, raw = pools.batch(range(10, 12), 10)
        with pytest.raises(DataError, match="column 'id' must hold 32 hex digits"):
            writer.append(bad.set_column(1, "id", pa.array(["x", "y"])), raw)


def test_one_example_by_id_prefix_and_input_id(store: Store, pools: Any) -> None:
    pools.ingest(store, "a", range(30))
    pools.score(store, "first")
    example = store.example("x7")
    assert example["id"] == pools.id("e7")
    assert example["messages"] == [{"content": "7", "role": "assistant"}]
    assert example["rows"] == [
        {"dataset": "a", "position": 7, "external_id": "x7", "source": "source1"}
    ]
    assert store.example(pools.id("e7")) == store.example(pools.id("e7")[:8]) == example
    with pytest.raises(DataError, match="no example 'nobody' in the store; give an id"):
        store.example("nobody")


def test_a_full_disk_is_one_error_and_loses_nothing(
    store: Store, pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "a", range(30))
    replace = os.replace

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        StoreError, match="no space left on the disk of .*run the same command again"
    ):
        pools.ingest(store, "b", range(30, 60))
    monkeypatch.setattr(os, "replace", replace)
    assert store.n_examples() == 30
    assert pools.ingest(store, "b", range(30, 60)).n_added == 30
