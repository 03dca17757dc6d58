"""The pool's numbers in memory."""

import numpy as np
import pytest
from reported import colour_rows, quality, score, write_rows

import curate as cu
from curate.errors import DataError, ExpressionError


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    score(
        opened,
        "quality",
        {
            "value": ("float", quality), "rank": ("int", lambda n: int(quality(n))),
            "long": ("bool", lambda n: n.endswith("2")), "label": ("text", lambda n: n[:3]),
        },
        failure=lambda n: "non_finite" if n == "red-1" else None,
    )  # fmt: skip
    return opened


def test_columns_are_in_order_of_id_with_null_for_failures(pool):
    snapshot = pool.store.snapshot()
    rows = pool.store.read("select id, external_id from rows order by id").to_pylist()
    assert snapshot.ids.tolist() == [row["id"].encode() for row in rows]
    names = [row["external_id"] for row in rows]
    expected = [np.nan if name == "red-1" else quality(name) for name in names]
    for column in ("quality.value", "quality.rank"):
        assert np.array_equal(snapshot.values(column), expected, equal_nan=True)
    codes, labels = snapshot.codes("quality.label")
    found = [None if code < 0 else labels[code] for code in codes]
    assert found == [None if name == "red-1" else name[:3] for name in names]
    assert snapshot.array("quality.long").null_count == 1
    assert np.array_equal(
        snapshot.values("quality.long"),
        [np.nan if name == "red-1" else name.endswith("2") for name in names],
        equal_nan=True,
    )


def test_a_column_of_texts_and_scores_can_be_asked_for_at_once(pool):
    where = "quality.label = 'red' or (contains(messages, 'plum plum') and quality.long)"
    mask = pool.store.snapshot().matching(where)
    view = pool.store.view(bind={}, where=where)
    assert pool.store.snapshot().ids[mask].tolist() == view.ids.tolist()
    assert mask.sum() == 2


def test_previews_come_in_the_order_asked_for(pool):
    snapshot = pool.store.snapshot()
    rows = np.array([7, 0, 3])
    texts = snapshot.previews(rows, 6)
    stored = {
        row["id"]: (
            row["prompt"][:6],
            row["response"][:6],
            len(row["prompt"]),
            len(row["response"]),
        )
        for row in pool.store.read("select id, prompt, response from examples").to_pylist()
    }
    assert texts == [stored[name] for name in snapshot.names(rows)]
    assert snapshot.previews(np.array([], dtype=int), 6) == []


def test_state_changes_with_the_pool_and_the_scores_alone(pool, tmp_path):
    before = pool.store.state()
    assert pool.store.snapshot().state == before
    pool.select("random", budget=3)
    assert pool.store.state() == before
    score(pool, "other", {"value": ("float", quality)})
    scored = pool.store.state()
    assert scored != before
    pool.store.forget("n_chars > 60")
    assert pool.store.state() not in (before, scored)


def test_a_snapshot_outlives_changes_of_the_store(pool):
    snapshot = pool.store.snapshot()
    n = len(snapshot)
    pool.store.forget("quality.value > 10")
    assert len(snapshot) == n
    assert np.isnan(snapshot.values("quality.value")).sum() == 2
    assert (pool.store.snapshot().places(snapshot.ids) < 0).sum() == 1


def test_what_is_not_there_is_said(pool):
    snapshot = pool.store.snapshot()
    with pytest.raises(DataError, match=r"no column 'quality.no' in the store; it has: dataset, "):
        snapshot.array("quality.no")
    with pytest.raises(DataError, match="no example 'zz' in the pool"):
        snapshot.place("zz")
    with pytest.raises(ExpressionError, match="is text, but a condition is needed"):
        snapshot.matching("source")
