"""Marks made by hand, and selecting with them."""

import pytest
from reported import colour_rows, quality, score, write_rows

import curate as cu
from curate.errors import ConfigError, DataError
from curate.select.marks import (
    label_examples,
    label_id,
    labelled,
    mark_examples,
    marked,
    note_example,
    noted,
    with_selections,
)


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    score(opened, "quality", {"value": ("float", quality)})
    return opened


def named(pool, *names):
    return pool.store.resolve_ids(names)


def test_include_and_exclude_take_marks(pool):
    low, high = named(pool, "red-1"), named(pool, "gold-2")
    mark_examples(pool.store, "ana", low, "in")
    mark_examples(pool.store, "ana", high, "out")
    chosen = pool.select(
        rank="quality.value", budget=3, include=["marked-in-ana"], exclude=["marked-out-ana"]
    )
    assert chosen.rows()["id"].to_pylist() == named(pool, "red-1", "gold-1", "plum-2")
    assert chosen.document["include"] == low
    assert pool.explain(high[0])["absent"][0]["text"] == "--exclude names it"


def test_marks_that_left_the_pool_are_left_out_of_a_selection(pool):
    mark_examples(pool.store, "ana", named(pool, "gold-2", "red-1"), "in")
    pool.store.forget("quality.value > 10")
    assert with_selections(pool.store, ["marked-in-ana", "green-1"]) == (
        *named(pool, "red-1"), "green-1",
    )  # fmt: skip
    assert len(marked(pool.store, "ana")["in"]) == 2


def test_marks_keep_their_order_and_each_example_has_one(pool):
    first, second = named(pool, "red-1", "gold-2")
    mark_examples(pool.store, "ana", [second], "in")
    mark_examples(pool.store, "ana", [first, second, first], "in")
    assert marked(pool.store, "ana") == {"in": [second, first], "out": []}
    mark_examples(pool.store, "bo", [first], "out")
    mark_examples(pool.store, "ana", [second], "out")
    assert marked(pool.store, "ana") == {"in": [first], "out": [second]}
    assert marked(pool.store, "bo") == {"in": [], "out": [first]}


def test_marks_are_read_like_any_selection(pool, tmp_path):
    mark_examples(pool.store, "ana", named(pool, "gold-2", "red-1"), "in")
    report = pool.export("marked-in-ana", tmp_path / "marked.jsonl")
    assert report["n_rows"] == 2
    record = pool.store.selection("marked-in-ana")
    assert record["config"] == {"marker": "ana", "mark": "in"}
    [row] = [
        one for one in pool.store.selection_rows("marked-in-ana").to_pylist() if one["rank"] == 1
    ]
    assert (row["reason"], row["gain"], row["weight"]) == ("marked in by ana", None, 1.0)
    [absent] = pool.explain(named(pool, "blue-1")[0], selections=("marked-in-ana",))["absent"]
    assert (absent["cause"], absent["text"]) == ("not marked", "ana has not marked it in")
    assert pool.explain(named(pool, "blue-1")[0])["absent"] == []


def test_a_report_shows_marks(pool, tmp_path):
    from curate.views.report.build import ReportOptions, write_report

    mark_examples(pool.store, "ana", named(pool, "gold-2", "red-1"), "in")
    path = tmp_path / "report.html"
    write_report(pool.store, path, ReportOptions())
    assert "marked-in-ana" in path.read_text(encoding="utf-8")


def test_the_rebuilt_store_has_the_marks(pool):
    mark_examples(pool.store, "ana", named(pool, "gold-2"), "in")
    pool.store.rebuild()
    assert marked(pool.store, "ana")["in"] == named(pool, "gold-2")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "é", "x" * 41])
def test_a_name_that_cannot_be_part_of_an_id_is_refused(pool, name):
    with pytest.raises(
        ConfigError, match="cannot be part of a selection's id; use 1 to 40 letters"
    ):
        mark_examples(pool.store, name, named(pool, "gold-2"), "in")


def test_marks_of_nobody_are_said(pool):
    with pytest.raises(DataError, match="nobody of that name has marked an example"):
        pool.select(rank="quality.value", budget=3, include=["marked-in-nobody"])


def test_unknown_examples_change_nothing(pool):
    with pytest.raises(DataError, match="no example '0{32}' in the pool, so it cannot be marked"):
        mark_examples(pool.store, "ana", [*named(pool, "gold-2"), "0" * 32], "in")
    assert marked(pool.store, "ana") == {"in": [], "out": []}


def test_an_example_has_several_labels_and_each_is_a_selection(pool):
    first, second = named(pool, "red-1", "gold-2")
    assert label_examples(pool.store, "ana", [first, second, first], "typo") == 2
    assert label_examples(pool.store, "ana", [second], "short") == 1
    label_examples(pool.store, "bo", [first], "typo")
    assert labelled(pool.store, "ana") == {"short": [second], "typo": [first, second]}
    assert label_examples(pool.store, "ana", [second], "short", remove=True) == 0
    assert labelled(pool.store, "ana") == {"typo": [first, second]}
    chosen = pool.select(rank="quality.value", budget=2, exclude=[label_id("ana", "typo")])
    assert second not in chosen.ids
    [absent] = pool.explain(named(pool, "blue-1")[0], selections=("label-typo-ana",))["absent"]
    assert absent["text"] == "ana has not labelled it typo"


@pytest.mark.parametrize("label", ["", "a b", "1st", "to-do", "x" * 41, "é"])
def test_a_label_that_no_expression_could_name_is_refused(pool, label):
    with pytest.raises(ConfigError, match="letters, digits and underscores, beginning with a"):
        label_examples(pool.store, "ana", named(pool, "red-1"), label)


def test_notes_are_the_reasons_of_their_rows(pool):
    first, second = named(pool, "red-1", "gold-2")
    assert note_example(pool.store, "ana", first, " check the units\n") == 1
    assert note_example(pool.store, "ana", second, "fine") == 2
    assert note_example(pool.store, "ana", first, "units are wrong") == 2
    assert noted(pool.store, "ana") == {first: "units are wrong", second: "fine"}
    assert note_example(pool.store, "ana", second, "") == 1
    pool.store.rebuild()
    assert noted(pool.store, "ana") == {first: "units are wrong"}
    [absent] = pool.explain(second, selections=("notes-ana",))["absent"]
    assert absent["text"] == "ana has written no note beside it"
    with pytest.raises(ConfigError, match="a note has at most 2,000 characters, got 2,001"):
        note_example(pool.store, "ana", first, "x" * 2_001)
    with pytest.raises(DataError, match="no example 'nobody' in the pool"):
        note_example(pool.store, "ana", "nobody", "text")
