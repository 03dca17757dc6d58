"""Damaged and missing files are errors that say what to type, never a smaller or another pool."""

import random
from pathlib import Path
from typing import Any

import pytest

from curate.errors import StoreError
from curate.store import Store
from curate.store.parts import read_parquet
from curate.store.upkeep.rebuild import rebuild


def parquet_files(store: Store) -> list[Path]:
    return sorted(path for path in store.parts.rglob("*.parquet") if "cache" not in path.parts)


def filled(store: Store, pools: Any) -> Store:
    pools.ingest(store, "p", range(600))
    pools.score(store, "a")
    pools.score(store, "b", vector=True)
    rows = store.read(
        "select id, 1 as rank, 1.0 as gain, 1.0 as weight, '' as reason from examples limit 1"
    )
    store.save_selection({"selection_id": "s", "method": "random"}, rows)
    return store


def flip(path: Path, at: int, bit: int = 3) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def test_a_missing_shard_is_an_error_wherever_texts_are_read(store: Store, pools: Any) -> None:
    filled(store, pools)
    lost = store.shards()[0].path
    lost.unlink()
    message = f"{lost} is missing, which holds a part of the store; .*curate doctor"
    with pytest.raises(StoreError, match=message):
        store.view(bind={}, expressions={"by": "length(response)"})
    with pytest.raises(StoreError, match=message):
        store.query("select count(*) from examples")
    with pytest.raises(StoreError, match=message):
        store.snapshot().matching("response like '%1%'")


def test_a_store_whose_views_named_patterns_gets_views_that_name_files(
    store: Store, pools: Any
) -> None:
    filled(store, pools)
    pattern = store.parts / "examples" / "p" / "*.parquet"
    with store.write() as con:
        con.execute(f"create or replace view examples as select * from read_parquet('{pattern}')")
        con.execute("delete from internal.meta where key = 'views'")
        con.execute("drop table internal.files")
    opened = Store(store.path)
    opened.shards()[0].path.unlink()
    with pytest.raises(StoreError, match="is missing"):
        opened.query("select count(*) from examples")


def test_a_flipped_bit_of_a_page_is_never_read_as_something_else(store: Store, pools: Any) -> None:
    """Names and types in the footer have no checksum of their own: the deep check covers them."""
    filled(store, pools)
    draw = random.Random(0)
    for path in parquet_files(store):
        whole, before = path.read_bytes(), read_parquet(path)
        pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for _ in range(20):
            flip(path, draw.randrange(4, pages), draw.randrange(8))
            try:
                assert read_parquet(path).equals(before)
            except StoreError as error:
                assert str(path) in str(error)
                assert "is damaged" in str(error)
            path.write_bytes(whole)


@pytest.mark.slow
def test_a_deep_check_finds_every_changed_file_and_the_quick_one_every_cut_one(
    store: Store, pools: Any
) -> None:
    filled(store, pools)
    assert [f.level for f in store.check(deep=True)] == ["ok"]
    for path in parquet_files(store):
        whole = path.read_bytes()
        flip(path, len(whole) // 2)
        assert [f.message for f in store.check() if f.check == "damaged"] == []
        [found] = [f for f in store.check(deep=True) if f.check == "damaged"]
        assert (found.level, found.message) == ("error", f"{path} does not hold what was written")
        assert found.action.startswith("restore it from a backup of the store")
        assert ("curate score" in found.action) == ("scores" in path.parts)
        path.write_bytes(whole[:-10])
        [cut] = [f for f in store.check() if f.check == "damaged"]
        assert cut.message == f"{path} has {len(whole) - 10:,} bytes and had {len(whole):,}"
        path.write_bytes(whole)


@pytest.mark.slow
def test_hashes_follow_what_forgetting_and_rebuilding_write(store: Store, pools: Any) -> None:
    filled(store, pools)
    store.forget("n_chars < 100")
    assert [f.level for f in store.check(deep=True)] == ["ok"]
    rebuild(store.path)
    again = Store(store.path)
    assert [f.level for f in again.check(deep=True)] == ["ok"]
    path = parquet_files(again)[0]
    flip(path, path.stat().st_size // 2)
    assert [f.check for f in again.check(deep=True)] == ["damaged"]


def test_a_file_without_a_hash_is_read_by_the_deep_check(store: Store, pools: Any) -> None:
    filled(store, pools)
    with store.write() as con:
        con.execute("drop table internal.files")
    path = store.shards()[0].path
    path.write_bytes(path.read_bytes()[:-10])
    [found] = store.check(deep=True)
    assert found.message.startswith(f"{path} cannot be read")
