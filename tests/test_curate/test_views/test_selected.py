import json

import numpy as np

import curate
from curate.views.selected import read_picks, read_selected


def test_picks_are_rows_of_the_snapshot_and_deleted_ones_are_counted(tmp_path):
    rows = [{"prompt": f"Add {n}.", "response": str(n)} for n in range(6)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pool = curate.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(data))
    first = pool.select("random", budget=3)
    second = pool.select("random", budget=2, seed=1)
    lost = first.ids[1]
    pool.store.forget(f"id = '{lost}'")
    snapshot = pool.store.snapshot()
    records = [pool.store.selection(one.id) for one in (second, first)]
    of_second, of_first = read_picks(pool.store, snapshot, records)
    assert of_first.selection_id == first.id
    assert of_first.name == "random 3"
    assert of_first.names() == first.ids
    assert snapshot.names(of_first.rows) == [name for name in first.ids if name != lost]
    assert (of_first.at[1], of_first.n_deleted) == (-1, 1)
    assert of_second.names() == second.ids
    assert np.flatnonzero(of_first.mask(len(snapshot))).tolist() == sorted(of_first.rows.tolist())
    assert of_first.reasons.to_pylist() == first.rows()["reason"].to_pylist()
    assert read_selected(pool.store, snapshot, []) == []
    rows_of_second, rows_of_first = read_selected(pool.store, snapshot, records)
    assert rows_of_first.at.tolist() == of_first.at.tolist()
    assert (rows_of_second.name, rows_of_second.n_deleted) == ("random 2", of_second.n_deleted)
