"""What a pool, a scoring run, a selection and a proof show of themselves below a cell."""

import json

import pytest
from reported import colour_rows, parse, proof_document, quality, score, write_rows

import curate as cu
from curate.api.proof import Proof

SAFE = {
    "div", "style", "h4", "p", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "svg",
    "rect", "line", "path", "text", "title", "figure", "figcaption", "i", "span",
}  # fmt: skip


def page_of(thing):
    found = parse(thing._repr_html_())
    assert found.names() <= SAFE
    return found


@pytest.fixture
def colours(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    score(
        opened, "quality", {"value": ("float", quality)}, lambda n: "bad" * (n == "red-1") or None
    )
    return opened


def test_a_pool_shows_counts_scores_selections_and_first_rows(colours):
    chosen = colours.select(rank="quality.value", budget=4)
    page = page_of(colours)
    for text in ("Pool curate.duckdb", "examples12", "sources2", "selections1", "quality.value"):
        assert text in page.text
    assert chosen.id[:8] in page.text and "Say red." in page.text
    assert "quality.value11" in page.text, "eleven values, for one example failed"
    assert "svg" in page.names()
    assert repr(colours).endswith("12 examples, scores: quality)")


def test_an_empty_pool_says_what_to_do(tmp_path):
    page = page_of(cu.open(tmp_path / "empty.duckdb", create=True))
    assert "The pool is empty. Ingest some examples: pool.ingest(FILE)" in page.text


def test_a_pool_of_one_row_and_one_score_is_drawn(tmp_path):
    opened = cu.open(tmp_path / "one.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows()[:1])))
    assert "examples1" in page_of(opened).text
    score(opened, "quality", {"value": ("float", quality)})
    assert "quality.value1" in page_of(opened).text
    assert page_of(opened.plot.histogram("quality.value")).text
    page_of(opened.select("random", budget=1))


@pytest.mark.slow
def test_a_scoring_run_shows_what_it_did_and_how_the_values_lie(pool, roomy_model):
    report = pool.score("likelihood", model=str(roomy_model))
    page = page_of(report)
    assert "likelihoodlikelihood096" in page.text, "none now, 96 found"
    assert "likelihood.mean_logp" in page.text and "svg" in page.names()
    assert repr(report).startswith("ScoreReport(likelihood 0 scored, 96 found, 0 failed")


def test_a_selection_shows_its_shifts_and_first_picks(colours):
    chosen = colours.select(rank="quality.value", budget=4)
    page = page_of(chosen)
    for text in ("Selection top-k 4", "picked4", "of the pool33.3%", "Shares of the sources"):
        assert text in page.text
    first = chosen.to_polars()
    assert f"1{first['id'][0][:8]}11" in page.text, "place, id and gain of the first pick"
    assert chosen.to_pandas()["rank"].tolist() == first["rank"].to_list() == [1, 2, 3, 4]
    assert chosen.to_arrow()["id"].to_pylist() == chosen.ids


def test_what_one_selection_has_and_another_lacks_keeps_its_order(colours):
    a = colours.select(rank="quality.value", budget=6)
    b = colours.select(rank="-quality.value", budget=8)
    assert a.without(b).to_arrow()["id"].to_pylist() == a.ids[:3]
    assert a.examples(2).to_arrow()["id"].to_pylist() == a.ids[:2]
    assert len(a.without(a)) == 0


def test_forgotten_picks_are_left_out_of_the_examples(colours):
    chosen = colours.select(rank="quality.value", budget=4)
    gone = chosen.ids[0]
    colours.store.forget(f"id = '{gone}'")
    assert chosen.examples().to_arrow()["id"].to_pylist() == chosen.ids[1:]
    page_of(chosen)


def test_a_proof_is_a_dictionary_with_a_card(tmp_path):
    proof = Proof(proof_document())
    assert json.loads(json.dumps(proof)) == proof == proof_document()
    assert dict(**proof)["seeds"] == 5
    page = page_of(proof)
    assert "long✓ better" in page.text and "-0.1000 (-0.1200 to -0.0800)" in page.text
    said = "nll on test at 10: long better; nll on test at 20: long better"
    assert repr(proof) == f"Proof('tiny', 5 seeds; {said})"
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(proof), encoding="utf-8")
    assert Proof.read(path) == proof


def test_the_plan_of_a_proof_says_how_many_trials():
    plan = {
        k: v for k, v in proof_document().items() if k in ("model", "n_pool", "budgets", "seeds")
    }
    proof = Proof(plan | {"plan": {"n_trials": 12}})
    assert repr(proof) == "Proof(plan of 12 trials of 'tiny')"
    assert "Plan of a proof" in page_of(proof).text


@pytest.mark.slow
def test_hostile_texts_are_shown_and_do_nothing(hostile):
    chosen = hostile.select(rank="quality.value", budget=5)
    for thing in (hostile, chosen):
        page = thing._repr_html_()
        page_of(thing)
        assert "\u202e" not in page and "\x00" not in page
        assert len(page) < 90_000
    name = "<img src=x onerror=\"document.title='flag'\">"
    page_of(Proof(proof_document(methods=("random", name))))
