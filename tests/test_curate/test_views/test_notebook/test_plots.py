"""The charts of a pool and of a proof: what is drawn follows from the store."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from reported import proof_document

import curate as cu
from curate.api.proof import Proof
from curate.errors import ConfigError, DataError, ExpressionError, MissingColumnError


def words(picture):
    return [element.text for element in ET.fromstring(picture.drawing).iter("text")]


def tips(picture):
    return [element.text for element in ET.fromstring(picture.drawing).iter("title")]


def test_histograms_of_every_score_have_units_on_their_axes(pool):
    drawn = pool.plot.histograms()
    titles = [one.title for one in drawn]
    assert "Distribution of likelihood.mean_logp" in titles and len(drawn) == 8
    [one] = [one for one in drawn if one.title.endswith(".mean_logp")]
    assert "likelihood.mean_logp: mean log-probability, nats a token" in words(one)
    shares = [float(tip.rpartition(" ")[2].rstrip("%")) for tip in tips(one)]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_an_expression_is_a_column_too(pool):
    one = pool.plot.histogram("log(n_chars)")
    assert "log(n_chars)" in words(one)


def test_correlations_are_those_of_the_ranks(pool):
    import polars as pl

    names = ["likelihood.mean_logp", "n_chars", "-likelihood.mean_logp"]
    drawn = [tip.rpartition(" ")[2] for tip in tips(pool.plot.correlations(*names))]
    frame = pl.DataFrame(
        {
            "a": pool.scores().to_polars()["likelihood.mean_logp"],
            "b": pool.sql("select n_chars from examples order by id")["n_chars"],
        }
    )
    expected = frame.select(pl.corr("a", "b", method="spearman")).item()
    assert float(drawn[1]) == pytest.approx(expected, abs=1e-3)
    assert float(drawn[0]) == 1 and float(drawn[2]) == -1


def test_a_constant_score_has_no_correlation(pool):
    assert "-" in words(pool.plot.correlations("n_rows", "n_chars"))
    with pytest.raises(ConfigError, match=r"a correlation needs two columns, got \['n_chars'\]"):
        pool.plot.correlations("n_chars")


@pytest.mark.slow
def test_a_scatter_is_coloured_by_a_text_a_number_a_truth_or_a_selection(pool):
    xy = ("likelihood.mean_logp", "ifd.ratio_ppl")
    n = len(pool)
    by_source = words(pool.plot.scatter(*xy, colour="source"))
    assert "source" in by_source and any(word.startswith("text (") for word in by_source)
    assert "likelihood.mean_entropy" in words(pool.plot.scatter(*xy, "likelihood.mean_entropy"))
    assert f"no ({n})" in words(pool.plot.scatter(*xy, "likelihood.truncated"))
    chosen = pool.select("random", budget=7)
    assert {"picked (7)", f"not picked ({n - 7})"} <= set(words(pool.plot.scatter(*xy, chosen)))
    assert len([tip for tip in tips(pool.plot.scatter(*xy)) if ", " in tip]) == n


def test_a_map_shows_every_vector_and_says_what_of_the_variance(pool):
    by_selection = pool.plot.map(colour=pool.select("random", budget=7))
    assert by_selection.title == "Map of embedding.vector, by random 7"
    assert "picked (7)" in words(by_selection)
    one = pool.plot.map(column="embedding")
    x = np.array(pool.scores("embedding", vectors=True).to_arrow()["embedding.vector"].to_pylist())
    spread = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    first, second = (spread[:2] / spread.sum()).tolist()
    assert f"first principal component, {first:.0%} of the variance" in words(one)
    assert f"second principal component, {second:.0%} of the variance" in words(one)


def test_overlap_is_of_the_newest_where_none_is_named(pool):
    a, b = pool.select("random", budget=8), pool.select("random", budget=8, seed=1)
    shared = len(set(a.ids) & set(b.ids)) / len(set(a.ids) | set(b.ids))
    for one in (pool.plot.overlap(a, b), pool.plot.overlap(a.id, b.id), pool.plot.overlap()):
        assert f"{shared:.2f}" in words(one)
    assert f"random 8 {a.id[:6]}" in words(pool.plot.overlap()), "alike names get their ids"


def test_overlap_needs_two(pool):
    with pytest.raises(DataError, match="an overlap needs two selections, but there is none"):
        pool.plot.overlap()


def test_shares_of_sources_are_those_of_the_rows(pool):
    chosen = pool.select("random", budget=10)
    said = tips(pool.plot.sources(chosen))
    sources = chosen.to_polars()["source"].to_list()
    for name in set(sources):
        assert f"{name}, random 10: {100 * sources.count(name) / 10:.1f}" in said
    everything = pool.scores("length").to_polars()["source"].to_list()
    assert f"list, pool: {100 * everything.count('list') / len(everything):.1f}" in said


def test_lengths_are_in_tokens_where_counted_and_else_in_characters(pool, hostile):
    chosen = pool.select("longest", budget=10)
    assert "length of prompt and response, tokens" in words(pool.plot.lengths(chosen))
    assert "length of prompt and response, characters" in words(hostile.plot.lengths())
    shares = pool.plot.length_shares(chosen)
    assert "picked of the examples of that length (tokens), %" in words(shares)


def test_examples_without_a_value_are_counted(tmp_path):
    from reported import colour_rows, quality, score, write_rows

    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    score(
        opened, "quality", {"value": ("float", quality)}, lambda n: "bad" * (n == "red-1") or None
    )
    drawn = opened.plot.histogram("quality.value")
    assert drawn.note == "1 of 12 examples have no quality.value."


@pytest.mark.parametrize(
    ("draw", "error", "say"),
    [
        (lambda p: p.histograms(), MissingColumnError, "no complete scores; score it first"),
        (lambda p: p.histogram("n_chars"), DataError, "the pool is empty; ingest some examples"),
        (lambda p: p.map(), MissingColumnError, r"pool.score\('embedding', model=MODEL\)"),
        (lambda p: p.histogram("quality.valu"), ExpressionError, "quality.valu"),
        (lambda p: p.lengths("nope"), DataError, "the pool is empty|no selection 'nope'"),
    ],
)
def test_what_cannot_be_drawn_says_why(tmp_path, draw, error, say):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    with pytest.raises(error, match=say):
        draw(opened.plot)


def test_the_charts_of_a_proof(pool):
    proof = Proof(proof_document())
    curve, differences, cost = proof.plot.curve(), proof.plot.differences(), proof.plot.cost()
    assert {"budget", "10", "20", "NLL, nats per response token"} <= set(words(curve[0]))
    assert [one.title.rpartition(": ")[2] for one in differences] == [
        "test at 10, NLL in nats per response token",
        "test at 20, NLL in nats per response token",
    ]
    assert "minus random, NLL, nats per response token" in words(differences[0])
    assert "seconds, all seeds together" in words(cost[0]) and len(cost) == 2
    assert "0.25" in words(proof.plot.overlap()[0]) and len(proof.plot.means()) == 2
    assert pool.plot.curve(proof)[0] == curve[0]
    assert pool.plot.cost(proof)[0] == cost[0]
    assert pool.plot.differences(proof)[0] == differences[0]


def test_one_budget_is_no_curve_and_a_plan_has_no_charts():
    with pytest.raises(DataError, match="a budget curve needs two budgets, but this proof has 10"):
        Proof(proof_document(budgets=("10",))).plot.curve()
    plan = Proof({k: v for k, v in proof_document().items() if k != "results"})
    with pytest.raises(DataError, match="this is the plan of a proof"):
        plan.plot.cost()
