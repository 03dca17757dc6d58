"""The cascade of two confidences: as a sequence of steps, and on a tiny model for real."""

import json

import pytest
from driven import drive
from tiny_nli import save_tiny_nli

import curate as cu
from curate import Budget, ConfigError, MissingColumnError, Score, Select, Union
from curate_selectors.clear_cascade import ClearCascade, band_of

TOKENS = 10  # of every example of the made-up pool


def finish(procedure, budget=None, n=100, n_scored=None):
    """Run a procedure with made-up results on a pool of ``n`` examples; return steps and outcome."""

    def facts_of(step, number):
        if isinstance(step, Select):
            k = kept(step, n, n_scored)
            return {"n_pool": n, "n_eligible": n, "n_selected": k, "n_tokens": k * TOKENS}
        if isinstance(step, Score):
            return {"n_examples": 30 if step.within else n, "n_failed": 0, "tokens": 600}
        return {}

    return drive(procedure, facts_of, budget)


def kept(step, n, n_scored):
    if step.budget is None:
        return n // 2 if step.within is None else (30 if n_scored is None else n_scored)
    budget = Budget.parse(step.budget)
    share = budget.amount * n
    amounts = {"share": share, "token-share": share, "tokens": budget.amount / TOKENS}
    return int(amounts.get(budget.unit, budget.amount))


def test_the_band_lies_around_the_threshold_and_inside_the_pool():
    for n in (1, 2, 3, 10, 101):
        for n_kept in range(1, n + 1):
            for share in (0.01, 0.3, 1.0):
                low, high = band_of(n, n_kept, share)
                assert 0 <= low < n_kept <= high <= n
                assert high - low <= max(2, round(share * n))


def test_only_the_band_is_scored_in_full_and_half_of_the_pool_is_kept():
    steps, outcome = finish(ClearCascade())
    assert [type(step).__name__ for step in steps] == [
        "Score", "Select", "Select", "Select", "Score", "Select", "Select", "Union",
    ]  # fmt: skip
    cheap, threshold, above, band, full, _, inside, united = steps
    assert cheap.config == {"consistency": "likelihood"} and cheap.within is None
    assert threshold.budget is None and threshold.config["keep_fraction"] == "0.5"
    assert (above.budget, band.budget, band.without) == ("35", "30", ("Select-3",))
    assert full.within == "Select-4" and full.config["consistency"] == "nli"
    assert inside.budget == "15" and inside.within == "Select-4"
    assert inside.bind == {"confidence": "Score-5"} and inside.config == {"consistency": "nli"}
    assert united.selections == ("Select-3", "Select-7") and outcome.selection_id == "Union-8"


def test_it_says_how_many_had_the_full_score_and_what_that_saved():
    _, outcome = finish(ClearCascade())
    assert outcome.warnings[0] == (
        "full confidence (nli) for 30 of 100 examples, ranks 36 to 65 of the cheap one, for 600 "
        "tokens; all of them would take about 2,000, so about 1,400 (70%) are saved"
    )
    assert "gains of the first 35 are the cheap confidence" in outcome.warnings[1]
    assert "the cheap confidence took 600 tokens for the 100 examples" in outcome.warnings[2]


@pytest.mark.parametrize(
    ("budget", "above", "inside"),
    [("20", "5", "15"), ("20%", "5", "15"), ("200tok", "5", "150tok"), ("20%tok", "5", "150tok")],
)
def test_a_budget_moves_the_threshold(budget, above, inside):
    steps, _ = finish(ClearCascade(), budget)
    chosen = [step for step in steps if isinstance(step, Select)]
    assert [step.budget for step in chosen] == [
        str(Budget.parse(budget)), above, "30", None, inside,
    ]  # fmt: skip


def test_a_band_that_reaches_the_top_keeps_nothing_unseen():
    steps, outcome = finish(ClearCascade(band=1.0))
    assert [len(s.selections) for s in steps if isinstance(s, Union)] == [1]
    assert not any("gains of the first" in text for text in outcome.warnings)


def test_examples_without_a_full_score_are_counted():
    steps, outcome = finish(ClearCascade(), n_scored=10)
    assert steps[-2].budget == "10"
    assert (
        "20 of the 30 examples in the band have no full confidence, so 5 fewer are kept"
        in (outcome.warnings[-2])
    )


@pytest.mark.parametrize("band", [0.0, -0.5, 1.5])
def test_a_band_outside_0_and_1_is_named(band):
    with pytest.raises(ConfigError, match=f"clear-cascade.band is a share .* got {band}; try 0.3"):
        ClearCascade(band=band)


# For real ----------------------------------------------------------------------------------------

SHORT = {
    "clear-cascade.k": "2", "clear-cascade.prompt": "plain", "clear-cascade.max_new_tokens": "4",
}  # fmt: skip


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    return str(save_tiny_nli(tmp_path_factory.mktemp("tiny-nli")))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade")
    rows = [
        {"prompt": f"what is {n} plus two", "response": "it is " + "so " * (n % 4) + str(n)}
        for n in range(20)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(str(folder / "pool.jsonl"))
    return opened


def selected(pool, model, nli, **arguments):
    settings = {**SHORT, **arguments.pop("settings", {})}
    return pool.select(
        "clear-cascade", model=str(model), model_for={"nli": nli}, settings=settings, **arguments
    )


@pytest.mark.slow
def test_on_a_model_half_is_kept_and_the_samples_are_those_of_the_band(pool, roomy_model, nli):
    chosen = selected(pool, roomy_model, nli, settings={"clear-cascade.band": "0.4"})
    ids = chosen.rows().column("id").to_pylist()
    assert len(ids) == len(set(ids)) == 10
    sets = {s.alias: s for s in pool.store.score_sets()}
    assert (sets["samples"].n_examples, sets["samples"].partial) == (8, True)
    assert (sets["reflection"].n_examples, sets["reflection"].partial) == (20, False)
    cheap = pool.sql(
        "select id from scores order by confidence.confidence desc, id"
    )["id"].to_list()  # fmt: skip
    band = set(pool.sql(f"select id from score_set('{sets['samples'].set_id}')")["id"])
    assert ids[:6] == cheap[:6] and band == set(cheap[6:14])
    assert set(ids[6:]) < band
    partial = [s for s in pool.store.score_sets() if s.scorer == "confidence" and s.partial]
    full = pool.sql(
        f"select id from score_set('{partial[0].set_id}') order by confidence desc, id"
    )["id"].to_list()
    assert ids[6:] == full[:4]
    [said] = [text for text in chosen.document["warnings"] if "full confidence" in text]
    tokens = sets["samples"].tokens + sets["nli-consistency"].tokens
    assert f"for 8 of 20 examples, ranks 7 to 14 of the cheap one, for {tokens:,} tokens" in said
    assert pool.selection(chosen.id).document["warnings"] == chosen.document["warnings"]
    read = chosen.document["score_sets"]
    assert {one["set_id"] for one in read.values()} >= {
        s.set_id for s in pool.store.score_sets() if s.scorer == "confidence"
    }


@pytest.mark.slow
def test_repeated_it_runs_nothing_and_its_export_is_made_again(pool, roomy_model, nli, tmp_path):
    from curate.api.reproduce import reproduce

    chosen = selected(pool, roomy_model, nli, settings={"clear-cascade.band": "0.4"})
    again = selected(pool, roomy_model, nli, settings={"clear-cascade.band": "0.4"})
    assert again.rows().equals(chosen.rows())
    assert again.document["warnings"] == chosen.document["warnings"]
    chosen.export(tmp_path / "subset.jsonl")
    found = reproduce(
        tmp_path / "subset.jsonl.manifest.json", store=None, output=None, rescore=False,
        workers=None, progress=pool.progress,
    )  # fmt: skip
    assert found["identical"], found["differences"]


@pytest.mark.slow
def test_with_the_whole_pool_in_the_band_it_is_clear(pool, roomy_model, nli):
    cascade = selected(pool, roomy_model, nli, settings={"clear-cascade.band": "1"})
    clear = pool.select(
        "clear", model=str(roomy_model), model_for={"nli": nli},
        settings={"clear.keep_fraction": "0.5", "confidence.k": "2", "confidence.k_max": "2",
                  "confidence.prompt": "plain", "confidence.max_new_tokens": "4"},
    )  # fmt: skip
    assert cascade.rows().column("id").equals(clear.rows().column("id"))


@pytest.mark.slow
def test_a_token_budget_is_met(pool, roomy_model, nli):
    chosen = selected(pool, roomy_model, nli, budget="100tok")
    assert 0 < chosen.document["n_tokens"] <= 100


@pytest.mark.slow
def test_without_an_nli_model_it_says_what_to_pass(pool, roomy_model):
    settings = {**SHORT, "clear-cascade.k": "1"}
    with pytest.raises(MissingColumnError, match="needs a nli model; pass --model-for nli=MODEL"):
        pool.select("clear-cascade", model=str(roomy_model), settings=settings)
