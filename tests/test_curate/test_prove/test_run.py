"""A whole proof on a tiny pool: what it trains, what it prints, what a second run costs."""

import json
import shutil

import pytest

import curate as cu
from curate.errors import BudgetError, ConfigError, DataError, InterruptedRunError
from curate.prove.config import ProveConfig

OPTIONS = {"budget": "50%", "seeds": 2, "max_tokens": 900, "device": "cpu", "train": {
    "data.batch_tokens": 300, "optimiser.lr": 3e-3, "compute.threads": 1,
    "watch.extractor": "last-number", "watch.max_new_tokens": 3,
}}  # fmt: skip


@pytest.fixture(scope="module")
def proven(tmp_path_factory, tiny_llama, make_rows):
    """A pool on which one proof was run, that proof, and where its target lies."""
    folder = tmp_path_factory.mktemp("proven")
    target = make_rows(folder / "target.jsonl", 24, 2)
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(make_rows(folder / "pool.jsonl", 60, 1)))
    first = pool.prove("grape", target=str(target), model=str(tiny_llama), **OPTIONS)
    return pool, first, target


def n_trials(pool) -> int:
    return int(pool.sql("select count(*) as n from trials")["n"][0])


@pytest.mark.slow
def test_the_document_says_what_was_compared(proven):
    _, d, _ = proven
    assert set(d["methods"]) == {"random", "grape", "longest"}
    longest = d["methods"]["longest"]
    assert longest["verdict"] == longest["delta_vs_random"]["verdict"] == "too few seeds"
    assert longest["ci_low"] <= longest["mean"] <= longest["ci_high"]
    delta = longest["delta_vs_random"]
    assert delta["mean"] == pytest.approx(longest["mean"] - d["methods"]["random"]["mean"])
    assert d["methods"]["random"]["delta_vs_random"] is None
    assert len(set(longest["values"])) == 2
    assert {"scoring_s", "scoring_tokens", "training_s", "training_tokens"} <= set(longest)
    assert {one["metric"] for one in d["results"]} == {"nll", "exact_match"}
    assert 0 <= longest["exact_match"]["mean"] <= 1


def test_a_method_that_cannot_choose_is_not_applicable_and_no_failed_run(proven):
    pool, d, _ = proven
    verdict = d["methods"]["grape"]["verdict"]
    assert verdict.startswith("not applicable: ")
    assert "no instruction here has two" in verdict
    assert d["n_trained"] == n_trials(pool) == 4


def test_every_run_trains_the_same_number_of_tokens(proven):
    pool, d, _ = proven
    tokens = pool.sql("select tokens from trials")["tokens"].to_list()
    assert all(900 - 64 < one <= 900 for one in tokens)
    assert d["plan"]["max_tokens"] == {"50%": 900}


def test_random_draws_anew_with_every_seed_and_longest_selects_longer(proven):
    pool, d, _ = proven
    first, second = (
        set(pool.selection(one).rows().column("id").to_pylist())
        for one in d["selections"]["50%"]["random"]["selection_ids"]
    )
    assert first != second and len(first) == len(second) == 30
    assert d["selections"]["50%"]["longest"]["length_ratio"] > 1
    assert d["overlap"]["50%"]["methods"] == ["random", "longest"]
    matrix = d["overlap"]["50%"]["jaccard"]
    assert matrix[0][0] == matrix[1][1] == 1.0
    assert matrix[0][1] == matrix[1][0] < 1.0


def test_evaluations_are_kept_by_example_and_weights_are_not(proven):
    from curate.prove.trials import load_result

    pool, d, _ = proven
    [trial, _] = d["selections"]["50%"]["random"]["trial_ids"]
    found = load_result(pool.store, trial)
    one = found.evaluations["target"]
    assert len(one.ids) == 24 and one.correct.dtype == bool
    mean = one.nll.sum() / one.n_tokens.sum()
    assert mean == pytest.approx(d["methods"]["random"]["values"][0], rel=1e-12)
    assert not list((pool.store.parts / "runs").glob("*"))
    metrics = pool.sql(f"select metric, value from trial_evals where trial_id = '{trial}'")
    assert dict(metrics.rows())["nll"] == pytest.approx(mean)


@pytest.mark.slow
def test_a_second_run_trains_nothing_and_a_further_method_only_its_own(proven, tiny_llama):
    pool, first, target = proven
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS}
    again = pool.prove("grape", **given)
    assert again["n_trained"] == 0
    assert again["methods"]["longest"]["values"] == first["methods"]["longest"]["values"]
    more = pool.prove("grape", "top-k:rank=n_chars:ascending=true", **given)
    assert more["n_trained"] == 2
    assert more["methods"]["random"]["values"] == first["methods"]["random"]["values"]
    plan = pool.prove("grape", **given, dry_run=True)["plan"]
    assert (plan["n_trials"], plan["n_missing"]) == (6, 2)  # those of grape, which cannot choose


def test_the_store_rebuilt_from_its_parts_has_the_trials(proven, tiny_llama, tmp_path):
    from curate.store.upkeep.rebuild import rebuild

    pool, first, target = proven
    shutil.copytree(pool.store.parts, tmp_path / "curate.parts")
    rebuild(tmp_path / "curate.duckdb")
    copied = cu.open(tmp_path / "curate.duckdb", create=True)
    again = copied.prove("grape", target=str(target), model=str(tiny_llama), **OPTIONS)
    assert again["n_trained"] == 0
    assert again["methods"]["random"]["mean"] == first["methods"]["random"]["mean"]


def test_the_page_has_every_part(proven, tmp_path):
    from curate.views.report.proofs.files import write_proof

    _, d, _ = proven
    page, beside = write_proof(d, tmp_path / "proof.md")
    text = page.read_text()
    for part in (
        "# Proof", "NLL rewards a matching style", "exact match, higher is better", "## Cost",
        "## What was selected", "### Overlap at 50%", "## Slices", "category: sum-0",
        "not applicable: ", "too few seeds", "FLOPs (estimate)", "not reported",
    ):  # fmt: skip
        assert part in text, part
    assert json.loads(beside.read_text())["methods"].keys() == d["methods"].keys()
    for told in (text, beside.read_text()):  # of model, target, pool and page
        assert str(tmp_path.parent) not in told


def test_an_arm_gets_the_settings_of_what_it_reads_and_no_other():
    config = ProveConfig(
        ("ifd", "perplexity:which=high"),
        ("10%",),
        settings={"likelihood.score_end": "true", "length.template": "chat"},
    )
    settings = {arm.label: dict(arm.settings) for arm in config.compared()}
    length = {"length.template": "chat"}
    assert settings["random"] == settings["longest"] == settings["ifd"] == length
    assert settings["perplexity:which=high"] == {
        "likelihood.score_end": "true", "perplexity.which": "high", **length,
    }  # fmt: skip


def test_a_trial_of_a_living_process_is_left_to_it_and_of_a_dead_one_taken(proven):
    from curate.prove.trials import claimed

    store = proven[0].store
    path = store.parts / "runs" / "abc.claim"
    with claimed(store, "abc") as mine:
        assert mine
        with claimed(store, "abc") as again:
            assert not again
        assert path.exists(), "only its owner gives a claim back"
    assert not path.exists()
    path.write_text("left by a process that is gone")
    with claimed(store, "abc") as mine:
        assert mine


def test_a_trial_another_process_finishes_is_waited_for_and_not_trained(
    proven, tiny_llama, monkeypatch
):
    from curate.prove import run
    from curate.prove.trials import claimed

    pool, _, target = proven
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS, "seeds": 1}
    method = "top-k:rank=-n_chars"
    plan = pool.prove(method, **given, dry_run=True)["plan"]
    [missing] = [t["trial_id"] for t in plan["trials"] if not t["done"]]
    other = claimed(pool.store, missing)
    assert other.__enter__()
    waits = []

    def wait(_seconds):
        waits.append(n_trials(pool))
        other.__exit__(None, None, None)  # the other process is gone, its trial unfinished

    monkeypatch.setattr(run.time, "sleep", wait)
    before = n_trials(pool)
    document = pool.prove(method, **given)
    assert waits == [before], "nothing was trained while the other process had it"
    assert document["n_trained"] == 1


def test_time_up_keeps_what_is_done(proven, tiny_llama):
    pool, _, target = proven
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS}
    with pytest.raises(InterruptedRunError, match="0 of 2 trials.*run the same command"):
        pool.prove("top-k:rank=n_chars", **given, max_hours=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": ["gripe"]}, ConfigError, "no method 'gripe'; did you mean 'grape'"),
        ({"methods": ["ifd", "ifd"]}, ConfigError, "method 'ifd' is given 2 times"),
        ({"methods": ["ifd:variant"]}, ConfigError, "write ifd:FIELD=VALUE"),
        ({"budget": "0"}, BudgetError, "budget must be positive"),
        ({"budget": "61"}, BudgetError, "only 60 are eligible"),
        ({"budget": "1"}, ConfigError, "less than one batch of 300; set --batch-tokens to"),
        ({"max_tokens": 100}, ConfigError, "a run trains 100, less than one batch of 300"),
        ({"seeds": 0}, ConfigError, "seeds must be at least 1, got 0"),
        ({"train": {"length.epochs": 2}}, ConfigError, "the same for every run of a proof"),
        ({"train": {"watch.patience": 2}}, ConfigError, "by the target that they are judged on"),
        ({"train": {"watch.extractor": "last"}}, ConfigError, "no answer extractor 'last'"),
        ({"train": {"data.batch_token": 2}}, ConfigError, "did you mean 'data.batch_tokens'"),
        ({"settings": {"which": "low"}}, ConfigError, "write NAME.which=VALUE"),
        ({"settings": {"lenght.template": "chat"}}, ConfigError, "did you mean 'length'"),
        ({"target": []}, ConfigError, "add --target FILE"),
        (
            {"allow_overlap": True, "drop_overlap": True},
            ConfigError,
            "--drop-overlap leaves them out; give one of them",
        ),
        ({"target": "pool.jsonl"}, DataError, "60 of 60 examples of target 'pool' overlap"),
        ({"epoch": 2}, ConfigError, "prove has no option 'epoch'; did you mean 'epochs'"),
        ({"full": "all"}, ConfigError, "full='all' is not one of none, tokens, epochs, both"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_trained(
    proven, tiny_llama, change, error, message
):
    pool, _, target = proven
    before = n_trials(pool)
    methods = change.pop("methods", [])
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS, **change}
    if change.get("target") == "pool.jsonl":
        given["target"] = str(pool.store.path.parent / "pool.jsonl")
    with pytest.raises(error, match=message):
        pool.prove(*methods, **given)
    assert n_trials(pool) == before


@pytest.mark.slow
def test_a_curve_with_the_whole_pool_beside_it(proven, tiny_llama):
    from curate.views.report.proofs.files import proof_markdown

    pool, _, target = proven
    train = {**OPTIONS["train"], "watch.extractor": None, "data.batch_tokens": 200}
    given = {**OPTIONS, "budget": ["30%", "50%"], "seeds": 1, "max_tokens": 400, "train": train}
    d = pool.prove(target=str(target), model=str(tiny_llama), **given, full="both")
    assert list(d["methods"]) == ["random", "longest", "full", "full-epochs"]
    assert [one["budget"] for one in d["results"]] == ["30%", "50%"]
    assert d["selections"]["30%"]["full"]["n_selected"] == 60
    tokens = {(t["method"], t["budget"]): t["max_tokens"] for t in d["plan"]["trials"]}
    assert tokens["full", "30%"] == tokens["random", "50%"] == 400
    assert tokens["full-epochs", "30%"] == round(400 / 0.3)
    assert tokens["full-epochs", "50%"] == 800
    page = proof_markdown(d)
    assert "## Budget curve" in page and "### target: NLL in nats" in page
    assert "Exact match was not measured" in page


@pytest.mark.slow
def test_a_trial_killed_before_it_was_stored_is_not_trained_again(proven, tiny_llama, monkeypatch):
    from curate.train import api, record

    pool, _, target = proven
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS, "seeds": 1}
    method = "top-k:rank=n_chars:per_group=1"
    with monkeypatch.context() as patch:
        patch.setattr(
            record, "save_record", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            pool.prove(method, **given)
    [left] = (pool.store.parts / "runs").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(api, "load_trained_model", None, raising=False)
        patch.setattr("curate.train.loop.Loop.run", lambda self: pytest.fail("it trains again"))
        d = pool.prove(method, **given)
    assert d["n_trained"] == 1
    assert d["selections"]["50%"][method]["trial_ids"] == [left.name]
    assert not left.exists()


def test_only_a_method_may_refuse_and_not_the_baseline(proven, tiny_llama):
    pool, _, target = proven
    given = {"target": str(target), "model": str(tiny_llama), **OPTIONS, "where": "n_chars > 1e9"}
    with pytest.raises(ConfigError, match="no example is eligible for 'random'"):
        pool.prove("longest", **given)


def test_a_missing_model_of_another_role_is_an_error_and_no_verdict(proven, tiny_llama):
    from curate.errors import MissingColumnError

    pool, _, target = proven
    with pytest.raises(MissingColumnError, match="--model-for proxy=MODEL"):
        pool.prove("s2l", target=str(target), model=str(tiny_llama), **OPTIONS)
