"""Scores made elsewhere: which row is whose, which set they are, and that all readers take them."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate as cu
from curate.scoring.again import score_again
from curate.scoring.options import ScoringOptions
from curate.store.upkeep.rebuild import rebuild


def rows(n, first=0):
    return [
        {"id": f"{k:03}", "prompt": f"Say {k}.", "response": "word " * (1 + k % 3)}
        for k in range(first, first + n)
    ]


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "s.duckdb", create=True)
    opened.ingest(rows(6))
    return opened


@pytest.fixture
def said(pool, monkeypatch):
    lines = []
    monkeypatch.setattr(pool.progress, "note", lines.append, raising=False)
    return lines


def ids(pool):
    return dict(pool.sql("select external_id, id from rows").iter_rows())


def test_a_file_with_the_user_s_own_ids_becomes_columns(pool, tmp_path):
    path = tmp_path / "human.csv"
    path.write_text(
        "id,quality,label,ok\n000,3,good,true\n002,1.5,,false\n999,9,bad,true\n003,,bad,true\n"
    )
    report = pool.add_scores(path, name="human")
    assert report.columns == {"quality": "float", "label": "text", "ok": "bool"}
    assert (report.by, report.n_rows, report.n_scored) == ("id", 4, 3)
    assert (report.n_missing, report.n_unknown, report.n_repeated) == (3, 1, 0)
    by_id = {row["id"]: row for row in pool.scores("human").to_arrow().to_pylist()}
    found = {own: by_id[example] for own, example in ids(pool).items()}
    assert found["000"]["human.quality"] == 3.0 and found["000"]["human.ok"] is True
    assert found["002"]["human.label"] is None and found["003"]["human.quality"] is None
    assert found["001"]["human.quality"] is None  # it is in no row
    [status] = pool.store.score_sets()
    assert (status.scorer, status.complete, status.n_failed) == ("imported", True, 0)
    assert status.spec["key"]["inputs"] == {"imported": report.imported_hash}
    assert status.spec["run"]["imported_from"] == str(path)


def test_imported_scores_are_read_like_any_other(pool, unregistered):
    own = ids(pool)
    frame = pl.DataFrame({"id": list(own.values()), "v": [float(k) for k in range(6)]})
    pool.add_scores(frame, name="mine")
    best = pool.select(rank="mine.v", where="mine.v < 5", budget=2)
    assert best.ids == [own["004"], own["003"]]
    assert pool.explain(own["002"])["scores"]["mine"]["v"] == 2.0
    assert pool.examples(by="mine.v", limit=1).to_arrow()["id"].to_pylist() == [own["005"]]
    assert "<svg" in pool.plot.histogram("mine.v")._repr_html_()
    page = pool.report(pool.store.path.with_name("report.html"))
    assert "mine" in Path(page["output"]).read_text(encoding="utf-8")

    @cu.reads("mine")
    def highest(view, budget, rng):
        return (-view.scores("mine.v")).argsort(kind="stable")

    assert pool.select(highest, budget=1).ids == [own["005"]]


FORMS = {
    "polars": pl.DataFrame,
    "pandas": pd.DataFrame,
    "arrow": pa.table,
    "columns": dict,
    "dicts": lambda columns: pa.table(columns).to_pylist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_scores_in_any_form_and_order_are_one_set(pool, form):
    columns = {
        "id": ["003", "001", "000"],
        "v": [0.5, None, 2.0],
        "n": [1, 2, 3],
        "s": ["a", "b", None],
    }
    first = pool.add_scores(columns, name="x")
    again = pool.add_scores(FORMS[form](columns), name="x")
    turned = pool.add_scores({name: values[::-1] for name, values in columns.items()}, name="x")
    assert (first.reused, again.reused, turned.reused) == (False, True, True)
    assert {first.set_id, again.set_id, turned.set_id} == {first.set_id}
    assert len(pool.store.score_sets()) == 1
    other = pool.add_scores({**columns, "n": [1, 2, 4]}, name="y")
    assert other.set_id != first.set_id


def test_files_of_every_kind_hold_the_same(pool, tmp_path):
    columns = {"id": ["003", "001"], "v": [0.5, 2.0], "flag": [True, False]}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "a.parquet")
    pl.DataFrame(columns).write_csv(tmp_path / "a.csv")
    pl.DataFrame(columns).write_csv(tmp_path / "a.tsv", separator="\t")
    pl.DataFrame(columns).write_ndjson(tmp_path / "a.jsonl")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write(table)
    kinds = ("parquet", "csv", "tsv", "jsonl", "arrow")
    assert len({pool.add_scores(tmp_path / f"a.{kind}", name="x").set_id for kind in kinds}) == 1


def test_rows_match_by_position_where_the_last_was_skipped_or_forgotten(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in rows(3)]
    path.write_text("\n".join([*lines, '{"prompt": "Say no."}']))
    pool = cu.open(tmp_path / "skipped.duckdb", create=True)
    pool.ingest(path, on_error="skip")
    assert pool.add_scores({"v": [1, 2, 3, 4]}, name="p", by="position").n_scored == 3
    pool.store.forget("prompt = 'Say 2.'")
    assert pool.add_scores({"v": [5, 6, 7, 8]}, name="q", by="position").n_scored == 2


def test_texts_of_a_csv_that_other_programs_take_for_nothing_stay(pool, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('id,label\n000,NA\n001,null\n002,"nan"\n003,\n')
    pool.add_scores(path, name="h")
    by_id = {row["id"]: row["h.label"] for row in pool.scores("h").to_arrow().to_pylist()}
    assert [by_id[ids(pool)[own]] for own in ("000", "001", "002", "003")] == [
        "NA",
        "null",
        "nan",
        None,
    ]


def test_rows_match_by_position_and_by_a_named_column(pool):
    by_position = pool.add_scores({"v": list(range(6))}, name="p", by="position")
    own = ids(pool)
    found = {row["id"]: row["p.v"] for row in pool.scores("p").to_arrow().to_pylist()}
    assert [found[own[f"{k:03}"]] for k in range(6)] == list(range(6))
    named = pool.add_scores({"item": ["005", "005"], "v": [7, 8]}, name="q", by="item")
    assert (named.n_scored, named.n_repeated) == (1, 1)
    assert by_position.n_missing == 0


def test_vectors_are_vectors_and_an_example_without_one_is_left_out(pool):
    own = ids(pool)
    report = pool.add_scores(
        {"id": ["000", "001", "002"], "vector": [[0.0, 1.0], [0.1, 0.9], [1.0, 0.0]], "toks": [[1], [2, 3], []]},
        name="emb",
    )  # fmt: skip
    assert report.columns == {"vector": "vector", "toks": "ints"}
    near = pool.neighbours(own["000"], 1, column="emb.vector").to_arrow()["id"].to_pylist()
    assert own["001"] in near
    counts = pool.sql("select reason, count(*) from failures group by all").rows()
    assert counts == [("not imported", 3)]


def test_a_pool_that_grew_takes_the_same_file_into_the_same_set(pool):
    scores = {"id": [f"{k:03}" for k in range(9)], "v": [float(k) for k in range(9)]}
    first = pool.add_scores(scores, name="x")
    pool.ingest(rows(3, first=6))
    assert [status.complete for status in pool.store.score_sets()] == [False]
    again = pool.add_scores(scores, name="x")
    assert (again.set_id, again.n_scored, again.n_unknown, again.reused) == (
        first.set_id,
        9,
        0,
        False,
    )
    assert [status.complete for status in pool.store.score_sets()] == [True]


def test_a_rebuilt_store_keeps_them(pool):
    before = pool.add_scores({"id": ["000", "001"], "v": [1.0, math.nan]}, name="x")
    pool.store.path.unlink()
    rebuild(pool.store.path)
    [status] = pool.store.score_sets()
    assert (status.set_id, status.alias, status.content_hash) == (
        before.set_id,
        "x",
        before.content_hash,
    )
    assert pool.add_scores({"id": ["000", "001"], "v": [1.0, None]}, name="x").reused


def test_what_is_left_over_is_said(pool, said):
    pool.add_scores({"id": ["000", "000", "zzz"], "v": [1, 2, 3], "when": [{"a": 1}] * 3}, name="x")
    assert said == [
        "imported x.v (int) for 1 example",
        "column 'when' is left out: a score is a number, text, true or false, or a list of numbers, not struct<a: int64>",
        "5 examples of the pool without a row: no score",
        "1 row with an id that no example has: left out",
        "1 further row of examples that an earlier row scores: left out",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        ({"v": [1]}, {}, "nothing says which row is which example (the columns are: v); name the column of your ids: "),
        ({"id": ["zz"], "v": [1]}, {}, "of 1 row none belongs to an example of the pool (first ids: 'zz')"),
        ({"id": ["000"], "v": [1]}, {"by": "ids"}, "there is no column 'ids' to match by; did you mean 'id'; the columns"),
        ({"v": [1]}, {"by": "position"}, "the scores have 1 row and dataset 'memory' has 6, so their positions"),
        ({"id": ["000"], "v": [1]}, {"columns": ["w"]}, "there is no column 'w' of scores"),
        ({"id": ["000"], "a b": [1]}, {}, "column 'a b' cannot be a score: expressions read names of letters, digits"),
        ({"id": ["000"], "v": [math.inf]}, {}, "column 'v' has 1 number that is not finite; a score is finite, or mi"),
        ({"id": ["000"], "v": [1]}, {"name": "ifd"}, "'ifd' is the name of a scorer; choose another name for impor"),
        ({"id": ["000"], "v": [1]}, {"dataset": "x"}, "there is no dataset 'x' in the store"),
        ({"id": ["000"]}, {}, "there is no column of scores beside the ids; add one"),
        (3, {}, "scores are int; give a file, a table of polars, pandas, Arrow or datasets, a dict of columns"),
        ("none.csv", {}, "there is no file 'none.csv'; check the path"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_says_what_to_do(pool, scores, options, words):
    with pytest.raises(cu.CurateError, match=re.escape(words)):
        pool.add_scores(scores, **{"name": "x", **options})
    assert pool.store.score_sets() == []


def test_imported_scores_cannot_be_computed_again(pool):
    pool.add_scores({"id": ["000"], "v": [1]}, name="x")
    [status] = pool.store.score_sets()
    with pytest.raises(cu.StoreError, match="score 'x' was imported, and nothing here can compute"):
        score_again(pool.store, "x", status.spec, ScoringOptions(models={}), pool.progress)
