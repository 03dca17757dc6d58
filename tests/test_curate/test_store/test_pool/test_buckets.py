"""Rows sorted in pieces come as those sorted in one go, and nothing is left on the disk."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.store import Store
from curate.store.pool import buckets, cut
from curate.store.pool.buckets import in_order, shards_of_a_bucket


@given(
    groups=st.lists(st.integers(0, 40), min_size=1, max_size=120),
    shards_each=st.integers(1, 9),
    rows_a_batch=st.integers(1, 50),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_rows_come_by_shard_group_and_place(groups, shards_each, rows_a_batch, order):
    firsts = {group: place for place, group in reversed([*enumerate(groups)])}
    rows = [
        {
            "number": firsts[group] // 7,
            "first": firsts[group],
            "position": place,
            "text": "é" * place,
        }
        for place, group in enumerate(groups)
    ]
    shuffled = order.sample(rows, len(rows))
    table = pa.Table.from_pylist(shuffled)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "BUFFER_BYTES", 400)
        reader = table.to_reader(max_chunksize=rows_a_batch)
        found = [*in_order(reader, Path(folder, "buckets"), shards_each)]
        assert not [*Path(folder).iterdir()]
    wanted = sorted(rows, key=lambda row: (row["number"], row["first"], row["position"]))
    assert pa.Table.from_batches(found).to_pylist() == wanted


def test_a_bucket_holds_as_many_shards_as_memory_does_and_there_are_not_too_many():
    one = buckets.BUCKET_BYTES
    assert shards_of_a_bucket(0, 5) == shards_of_a_bucket(buckets.ENGINE_BYTES, 5) == 5
    assert shards_of_a_bucket(5 * one, 5) == 1 and shards_of_a_bucket(5 * one, 11) == 3
    assert shards_of_a_bucket(10_000 * one, 5) == 1
    assert shards_of_a_bucket(10_000 * one, 2_560) == 10


def test_an_ingest_cut_in_pieces_makes_the_same_shards(
    tmp_path: Path, pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [(n * 37) % 2_000 for n in range(2_000)]  # groups far apart
    made = []
    for name, most in (("whole", buckets.ENGINE_BYTES), ("pieces", 2_000)):
        (tmp_path / name).mkdir()
        store = Store(tmp_path / name / "curate.duckdb")
        with monkeypatch.context() as patched:
            patched.setattr(buckets, "ENGINE_BYTES", most)
            patched.setattr(buckets, "BUCKET_BYTES", most)
            patched.setattr(cut, "IN_MEMORY_BYTES", 0)
            pools.ingest(store, "a", numbers)
        assert len(store.shards()) > 4
        made.append([pq.read_table(shard.path) for shard in store.shards()])
    assert made[0] == made[1]
