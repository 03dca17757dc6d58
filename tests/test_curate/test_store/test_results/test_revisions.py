"""Revisions stay with their selection: through a rebuild, a clean-up and a forgotten example."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import StoreError
from curate.store import Store
from curate.store.parts import write_part
from curate.store.results.revisions import ROWS_SCHEMA

SELECTION = "5e1ec7100"


@pytest.fixture
def revised(store: Store, pools: Any) -> Store:
    pools.ingest(store, "a", range(12))
    ids = [pools.id(f"e{n}") for n in range(4)]
    rows = [revision(pools, n) for n in (1, 3)]
    table = pa.table(
        {
            "id": ids,
            "rank": [1, 2, 3, 4],
            "gain": [0.9] * 4,
            "weight": [1.0] * 4,
            "reason": [""] * 4,
        }
    )
    record = {"selection_id": SELECTION, "method": "clear-correct"}
    store.save_revised(record, table, pa.Table.from_pylist(rows, schema=ROWS_SCHEMA))
    for folder in ("candidates", "verdicts"):
        part = pa.table({"parent_id": ids, "response": ["x", "y", "z", "w"]})
        write_part(store.parts / folder / "c1" / "part-00000.parquet", part, {"tokens": 4})
    return store


def revision(pools: Any, n: int) -> dict[str, Any]:
    return {
        "id": pools.id(f"new{n}"), "parent_id": pools.id(f"e{n}"), "response": f"better {n}",
        "confidence": 0.9, "consistency": 0.95, "reflection": 0.8, "parent_confidence": 0.1,
        "model": "m",
    }  # fmt: skip


def test_they_come_back_and_are_in_the_documented_relation(revised, pools):
    assert revised.revisions(SELECTION).to_pylist() == [revision(pools, n) for n in (1, 3)]
    assert revised.revisions(SELECTION[:6]).num_rows == 2
    found = revised.read("select * from revisions order by confidence, parent_id")
    assert found.column_names == ["id", "parent_id", "selection_id", "confidence"]
    assert set(found["parent_id"].to_pylist()) == {pools.id("e1"), pools.id("e3")}
    [mine] = revised.revisions_of(pools.id("e3"))
    assert mine == {"selection_id": SELECTION, "method": "clear-correct", **revision(pools, 3)}
    assert revised.revisions_of(pools.id("e2")) == []


def test_saved_again_they_are_replaced(revised, pools):
    rows = [revision(pools, 2)]
    kept = revised.selection(SELECTION), revised.selection_rows(SELECTION)
    revised.save_revised(*kept, pa.Table.from_pylist(rows, schema=ROWS_SCHEMA))
    assert revised.revisions(SELECTION).to_pylist() == rows
    assert revised.read("select count(*) as n from revisions")["n"].to_pylist() == [1]


def test_a_rebuilt_store_has_them(revised, pools):
    before = revised.revisions(SELECTION)
    revised.path.unlink()
    from curate.store.upkeep.rebuild import rebuild

    rebuild(revised.path)
    again = Store(revised.path, create=False)
    assert again.revisions(SELECTION).equals(before)
    assert len(again.revisions_of(pools.id("e1"))) == 1


def test_a_clean_up_keeps_them_and_removes_those_of_no_selection(revised):
    orphan = revised.parts / "revisions" / "0000000000000000.parquet"
    pq.write_table(ROWS_SCHEMA.empty_table(), orphan)
    assert str(orphan) in revised.gc()["paths"]
    assert not orphan.exists()
    assert revised.revisions(SELECTION).num_rows == 2
    assert (revised.parts / "candidates" / "c1" / "part-00000.parquet").exists()


def test_a_missing_file_is_said_by_the_check_and_by_whoever_reads_it(revised):
    path = revised.parts / "revisions" / f"{SELECTION}.parquet"
    path.unlink()
    assert f"{path} is missing" in next(finding.message for finding in revised.check())
    with pytest.raises(StoreError, match=f"{path} is missing, which holds the 2 revised responses"):
        revised.revisions(SELECTION)


def test_what_was_written_for_a_forgotten_example_goes_with_it(revised, pools):
    revised.forget("n_chars > 2 and n_chars < 4")
    assert [r["parent_id"] for r in revised.revisions(SELECTION).to_pylist()] == [pools.id("e1")]
    assert revised.read("select count(*) as n from revisions")["n"].to_pylist() == [1]
    for folder in ("candidates", "verdicts"):
        path = revised.parts / folder / "c1" / "part-00000.parquet"
        assert pools.id("e3") not in pq.read_table(path)["parent_id"].to_pylist()
        assert b"tokens" in pq.read_schema(path).metadata[b"curate"]
