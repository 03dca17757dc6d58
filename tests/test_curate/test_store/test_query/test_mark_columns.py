"""Marks, labels and notes in expressions."""

import pytest
from reported import colour_rows, quality, score, write_rows

import curate as cu
from curate.errors import ExpressionError
from curate.select.marks import label_examples, mark_examples, note_example


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    score(opened, "quality", {"value": ("float", quality)})
    store = opened.store
    red, gold, plum = store.resolve_ids(["red-1", "gold-2", "plum-1"])
    mark_examples(store, "ana", [red, plum], "in")
    mark_examples(store, "bo", [plum, gold], "out")
    label_examples(store, "ana", [red], "odd")
    label_examples(store, "bo", [red, gold], "odd")
    note_example(store, "ana", gold, "too long")
    note_example(store, "bo", gold, "and wrong")
    return opened


NAMED = [
    ("mark = 'in'", {"red-1"}),
    ("mark = 'out'", {"gold-2"}),
    ("mark = 'both'", {"plum-1"}),
    ("mark != 'none' and not label.odd", {"plum-1"}),
    ("label.odd", {"red-1", "gold-2"}),
    ("contains(note, 'long') and contains(note, 'wrong')", {"gold-2"}),
    ("note = '' and quality.value > 9", {"gold-1"}),
]


@pytest.mark.parametrize(("where", "wanted"), NAMED)
def test_every_example_has_a_value(pool, where, wanted):
    rows = pool.store.read("select id, external_id from rows").to_pylist()
    by_id = {row["id"]: row["external_id"] for row in rows}
    assert {by_id[i.decode()] for i in pool.store.view(bind={}, where=where).ids} == wanted
    snapshot = pool.store.snapshot()
    matches = snapshot.matching(where)
    assert {by_id[i] for i in snapshot.names(matches.nonzero()[0])} == wanted


def test_a_selection_reads_marks_and_so_does_a_rank(pool):
    chosen = pool.select(rank="if(label.odd, 100, 0) + quality.value", budget=3,
                         where="mark != 'out'")  # fmt: skip
    assert chosen.ids == pool.store.resolve_ids(["red-1", "gold-1", "plum-2"])


def test_a_label_nobody_gave_is_an_error_that_names_those_given(pool):
    for read in (lambda w: pool.store.view(bind={}, where=w), pool.store.snapshot().matching):
        with pytest.raises(ExpressionError, match=r"unknown column 'label\.od'.*label\.odd"):
            read("label.od")


def test_what_is_marked_meanwhile_is_seen(pool):
    snapshot = pool.store.snapshot()
    assert snapshot.matching("mark = 'in'").sum() == 1
    mark_examples(pool.store, "ana", pool.store.resolve_ids(["blue-1"]), "in")
    assert snapshot.matching("mark = 'in'").sum() == 2


def test_scores_named_label_come_first(pool):
    score(pool, "label", {"odd": ("float", quality)})
    assert len(pool.store.view(bind={}, where="label.odd > 10").ids) == 1
    assert pool.store.snapshot().matching("label.odd > 10").sum() == 1
