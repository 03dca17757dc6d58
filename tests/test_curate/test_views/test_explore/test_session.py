"""A session's memory: what a change of the store, or a failure in the middle of one, leaves behind."""

import numpy as np
import pytest
from explored import ask, ids

from curate.errors import StoreError
from curate.views.explore import session as module
from curate.views.explore.session import Session


def test_a_refresh_that_fails_leaves_everything_as_it_was(colours, monkeypatch):
    session = Session(colours.store, "ana")
    chosen = colours.select("random", budget=3)
    before = session.selection(chosen.id).rows.tolist()
    snapshot = session.snapshot()
    later = colours.select("random", budget=2, seed=1)

    def held(*_):
        raise StoreError("a job holds the store")

    with monkeypatch.context() as patch:
        patch.setattr(module, "marked", held)
        assert session.snapshot() is snapshot
        assert [one.selection_id for one in session.selections()] == [chosen.id]
        assert "a job holds the store" in session.notice
    assert [one.selection_id for one in session.selections()] == [chosen.id, later.id]
    assert session.selection(chosen.id).rows.tolist() == before


def test_what_was_made_of_an_old_snapshot_is_not_remembered(colours):
    session = Session(colours.store, "ana")
    session.snapshot()

    def slow():
        colours.select("random", budget=3)
        session.snapshot()  # another question, meanwhile
        return "old"

    assert session.remembered("key", slow) == "old"
    assert session.remembered("key", lambda: "new") == "new"


def test_marks_nobody_made_are_a_selection_of_nothing(colours, client):
    page = client(colours)
    assert ids(ask(page, "rows", a=f"marked-in-{page.session.marker}", part="both")) == []
    rows = page.session.selection(f"marked-out-{page.session.marker}").rows
    assert rows.tolist() == [] and rows.dtype == np.int64


def test_a_long_response_says_how_much_is_cut(make_pool, client):
    rows = [{"prompt": "say much", "response": "word " * 4_000},
            {"prompt": "say much", "response": "little"}]  # fmt: skip
    pool = make_pool(rows)
    page = client(pool)
    [long] = pool.sql("select id from examples where n_chars > 1000")["id"]
    found = ask(page, "responses", id=long)
    cut = {one["id"]: one["response"]["n_cut"] for one in found["responses"]}
    full = len(("word " * 4_000).rstrip())
    assert cut[long] == pytest.approx(full - 8_000, abs=1) and found["prompt"]["n_cut"] == 0
