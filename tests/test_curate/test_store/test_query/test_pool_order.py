"""The order of a large pool is kept in files, which a change of the pool replaces."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.store import Store
from curate.store.ids import id_bytes, order
from curate.store.query import pool_order


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the order of a pool of any size."""
    monkeypatch.setattr(pool_order, "KEPT_FROM", 1)


def files(store: Store) -> list[str]:
    return sorted(path.name for path in (store.parts / "cache").glob("pool-*.npy"))


def arrays(store: Store) -> dict[str, Any]:
    view = store.view(bind={}, where="n_chars != 5")
    return {
        "ids": view.ids.tolist(), "groups": view.groups.tolist(), "sources": view.sources.tolist(),
        "names": list(view.source_names), "excluded": dict(view.excluded),
    }  # fmt: skip


def test_what_is_kept_gives_the_same_view(
    store: Store, pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools.ingest(store, "first", range(40))
    sorted_now = arrays(store)
    assert files(store) == []
    monkeypatch.setattr(pool_order, "KEPT_FROM", 1)
    assert arrays(store) == sorted_now  # written
    assert len(files(store)) == 4
    monkeypatch.setattr(pool_order, "_sorted", None)
    assert arrays(store) == sorted_now  # read


def test_a_changed_pool_gets_files_of_its_own(store: Store, pools: Any, kept: None) -> None:
    pools.ingest(store, "first", range(20))
    arrays(store)
    before = files(store)
    pools.ingest(store, "second", range(15, 30))
    assert len(arrays(store)["ids"]) == 29
    assert len(files(store)) == 4 and not set(before) & set(files(store))
    store.forget("n_chars < 10")
    left = arrays(store)
    assert left["ids"] == sorted(left["ids"]) and len(left["ids"]) == 20
    assert len(files(store)) == 4
    store.rebuild()  # numbers its rows anew
    assert arrays(store) == left


def test_codes_of_a_part_of_the_pool_have_no_gaps(store: Store, pools: Any, kept: None) -> None:
    pools.ingest(store, "first", range(30))
    view = store.view(bind={}, where="n_chars % 6 = 0")
    with store.connect() as con:
        rows = con.execute(
            "select id, group_id, source from internal.examples where n_chars % 6 = 0 order by id"
        ).fetchall()
    assert view.ids.tolist() == [i.encode() for i, _, _ in rows]
    groups = sorted({group for _, group, _ in rows})
    assert view.groups.tolist() == [groups.index(group) for _, group, _ in rows]
    assert list(view.source_names) == ["source0"] and set(view.sources.tolist()) == {0}


def test_gc_removes_it(store: Store, pools: Any, kept: None) -> None:
    pools.ingest(store, "first", range(20))
    arrays(store)
    assert store.gc()["n_paths"] == 4
    assert files(store) == []


def test_ids_that_share_their_first_half_are_sorted_by_the_second() -> None:
    names = ["0" * 16 + f"{n:016x}" for n in (3, 1, 2)] + [f"{1:032x}"]
    ids = id_bytes(pa.array(names))
    assert np.array_equal(ids[order(ids)], np.sort(ids))


def test_ids_are_read_where_they_lie_or_copied() -> None:
    names = [f"{k:032x}" for k in range(6)]
    expected = [name.encode() for name in names]
    for kind in (pa.string(), pa.binary(), pa.large_string(), pa.string_view()):
        array = pa.array(names).cast(kind)
        assert id_bytes(array).tolist() == expected
        assert id_bytes(array[2:5]).tolist() == expected[2:5]
        assert id_bytes(pa.chunked_array([array[:1], array[4:]])).tolist() == [
            expected[0],
            *expected[4:],
        ]
    with pytest.raises(pa.ArrowInvalid):
        id_bytes(pa.array([names[0], names[1][:31], names[2] + "0"]))
