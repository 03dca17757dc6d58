"""Examples and scores in the forms that notebooks use."""

import numpy as np
import pytest
from reported import parse

from curate.errors import ConfigError, DataError, ExpressionError, MissingColumnError


def test_scores_are_the_same_in_every_form(pool):
    import polars as pl
    import pyarrow as pa

    rows = pool.scores("likelihood")
    assert rows.columns[:3] == ["id", "source", "likelihood.n_tokens"]
    arrow, frame, pandas = rows.to_arrow(), rows.to_polars(), rows.to_pandas()
    name = "likelihood.mean_logp"
    expected = pool.sql("select id, likelihood.mean_logp as v from scores order by id")["v"]
    assert arrow[name].to_pylist() == frame[name].to_list() == pandas[name].tolist()
    assert frame[name].to_list() == expected.to_list()
    assert pl.DataFrame(rows).equals(frame) and pa.table(rows).equals(arrow)
    assert rows.to_dataset().column_names == rows.columns


def test_scores_hold_every_complete_set_and_vectors_when_asked(pool):
    assert "embedding.vector" not in pool.scores().columns
    assert {"length.prompt_tokens", "ifd.ratio_ppl"} <= set(pool.scores().columns)
    assert len(pool.scores("embedding", vectors=True).to_arrow()["embedding.vector"][0]) == 32


def test_unknown_scores_are_named_with_those_that_are_there(pool):
    with pytest.raises(MissingColumnError, match=r"no complete scores 'nope' \(it has: .*ifd"):
        pool.scores("nope")


def test_a_pool_without_scores_says_how_to_score(tmp_path):
    import curate as cu

    with pytest.raises(MissingColumnError, match=r"score it first: pool.score\('likelihood'"):
        cu.open(tmp_path / "curate.duckdb", create=True).scores()


def test_examples_come_as_they_were_read_those_of_one_prompt_together(pool, demo_rows):
    first = demo_rows[0]["prompt"]
    same = [row["response"] for row in demo_rows if row["prompt"] == first]
    found = pool.examples(limit=len(same) + 1).to_polars()
    assert found["prompt"].to_list()[:-1] == [first] * len(same)
    assert found["response"].to_list()[:-1] == same
    assert len(pool.examples()) == len(demo_rows)


def test_a_column_that_is_there_is_not_added_again(pool):
    rows = pool.examples(by="n_chars", limit=3)
    assert rows.columns.count("n_chars") == 1
    sizes = rows.to_polars()["n_chars"].to_list()
    assert sizes == sorted(sizes, reverse=True)


def test_examples_by_a_score_are_the_highest_first(pool):
    rows = pool.examples(by="ifd.ratio_ppl", where="n_chars > 40", limit=7).to_polars()
    assert rows.columns[:2] == ["id", "ifd.ratio_ppl"]
    assert rows["n_chars"].min() > 40
    everything = pool.sql(
        "select s.ifd.ratio_ppl as v from scores s join examples e using (id) where e.n_chars > 40 "
        "order by v desc limit 7"
    )
    assert rows["ifd.ratio_ppl"].to_list() == everything["v"].to_list()


def test_examples_by_id_keep_their_order_and_may_be_the_inputs_own(pool, demo_rows):
    wanted = [demo_rows[4]["id"], demo_rows[1]["id"]]
    rows = pool.examples(ids=wanted).to_polars()
    assert rows["response"].to_list() == [demo_rows[4]["response"], demo_rows[1]["response"]]
    long = pool.examples(ids=wanted, where="n_chars < 0")
    assert len(long) == 0
    one = rows["id"][0]
    assert pool.examples(ids=one[:10]).to_polars()["id"].to_list() == [one]


def test_messages_become_lists_for_datasets(pool):
    found = pool.examples(limit=2).to_dataset()
    assert [one["role"] for one in found[0]["messages"]] == ["user", "assistant"]
    [turns] = pool.examples(limit=1).to_polars()["messages"].to_list()
    assert [set(turn) for turn in turns] == [{"role", "content"}] * 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"limit": 0}, ConfigError, "limit must be at least 1, got 0"),
        ({"ids": ["nobody"]}, DataError, "no example 'nobody' in the store"),
        ({"where": "drop table"}, ExpressionError, "drop"),
        ({"where": "n_chars"}, ExpressionError, "a condition is needed"),
        ({"by": "source"}, ExpressionError, "is text, but a number is needed"),
    ],
)
def test_a_wrong_question_says_what_would_be_right(pool, options, error, words):
    with pytest.raises(error, match=words):
        pool.examples(**options)


def test_rows_show_counts_distributions_and_the_first_of_them(pool):
    rows = pool.scores("likelihood")
    page = parse(rows._repr_html_())
    assert f"{len(pool)} examples" in page.text and f"and {len(pool) - 5} more" in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 4, "one for each column of numbers"
    plain = repr(rows).splitlines()
    assert plain[0].startswith(f"{len(pool)} examples") and len(plain) == 7
    assert "likelihood.mean_logp" in plain[1]


def test_hostile_texts_are_shown_and_do_nothing(hostile):
    rows = hostile.examples()
    page = rows._repr_html_()
    assert parse(page).names() <= {
        "div", "style", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "svg", "rect",
        "line", "i",
    }  # fmt: skip
    assert "\u202e" not in page + repr(rows) and "\x1b" not in page + repr(rows)
    assert len(page) < 30_000 and len(repr(rows)) < 3_000


def test_a_constant_column_has_no_histogram_and_none_is_a_dash():
    import pyarrow as pa

    from curate.views.notebook.rows import Rows

    rows = Rows(pa.table({"id": ["a", "b"], "x": [1.0, 1.0], "y": [None, 2.5], "z": [True, None]}))
    page = parse(rows._repr_html_())
    assert "svg" not in page.names()
    assert repr(rows).splitlines()[1:] == ["id  x  y    z", "a   1  -    yes", "b   1  2.5  -"]
    assert np.isnan(rows.to_pandas()["y"][0])


def test_neighbours_are_those_of_brute_force(pool):
    table = pool.scores("embedding", vectors=True).to_arrow()
    ids = table["id"].to_pylist()
    x = np.array(table["embedding.vector"].to_pylist(), dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = x @ x[3]
    cosine[3] = -np.inf
    best = np.argsort(-cosine, kind="stable")[:4]
    found = pool.neighbours(ids[3], k=4).to_polars()
    assert found["id"].to_list() == [ids[k] for k in best]
    assert np.allclose(found["cosine"].to_numpy(), cosine[best])
    assert len(pool.neighbours(ids[3], k=10_000)) == len(ids) - 1


def test_neighbours_need_vectors_and_a_known_example(pool, hostile):
    with pytest.raises(MissingColumnError, match=r"compute some first: pool.score\('embedding'"):
        hostile.neighbours("h0")
    with pytest.raises(DataError, match="no example 'nobody'"):
        pool.neighbours("nobody")
    with pytest.raises(ConfigError, match="k must be at least 1, got 0"):
        pool.neighbours(pool.examples(limit=1).to_arrow()["id"][0].as_py(), k=0)
    with pytest.raises(
        MissingColumnError, match="no vectors 'ifd'; the pool has: embedding.vector"
    ):
        pool.neighbours("demo-00000", column="ifd")
