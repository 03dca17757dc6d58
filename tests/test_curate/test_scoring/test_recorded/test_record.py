"""Recordings of a run scorer: the proxy is trained when they are needed, and only then."""

import json
from pathlib import Path

import pytest

import curate as cu
from curate.errors import ConfigError, CurateError, MissingColumnError, StoreError

RECIPE = {
    "trajectory.points": "2", "trajectory.epochs": "2", "trajectory.batch_tokens": "600",
    "trajectory.lr": "1e-3", "trajectory.template": "plain",
}  # fmt: skip


@pytest.fixture
def pool(tmp_path, make):
    rows = [{"messages": list(row.example.messages), "id": row.id} for row in make.rows(40, seed=3)]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(path))
    return opened


def s2l(pool, model, **options):
    settings = {**RECIPE, "s2l.n_clusters": "4", **options.pop("settings", {})}
    return pool.select(
        "s2l",
        budget=10,
        settings=settings,
        model_for={"proxy": str(model)},
        device="cpu",
        **options,
    )


def n_trials(pool) -> int:
    return int(pool.sql("select count(*) as n from trials")["n"][0])


@pytest.mark.slow
def test_s2l_trains_its_proxy_once_and_finds_it_again(pool, tiny_llama):
    from curate.scoring.recorded.record import run_costs

    first = s2l(pool, tiny_llama)
    assert len(first) == 10
    assert first.document["n_scored"] == 40
    [status] = pool.store.score_sets()
    assert (status.alias, status.scorer, status.complete) == ("trajectory", "trajectory", True)
    view = pool.store.view(bind={"trajectory": status.set_id})
    assert view.matrix("trajectory.losses").shape == (40, 2)
    assert n_trials(pool) == 1
    assert run_costs(pool.store, status.set_id)["tokens"] > 0
    assert not list((pool.store.parts / "runs").glob("*"))
    again = s2l(pool, tiny_llama)
    assert again.document["n_scored"] == 0
    assert again.id == first.id
    assert n_trials(pool) == 1
    without_model = pool.select("s2l", budget=10, settings={"s2l.n_clusters": "4"})
    assert without_model.rows().equals(first.rows())


@pytest.mark.slow
def test_another_recipe_is_another_recording_and_an_ambiguous_one_is_refused(pool, tiny_llama):
    options = {"model_for": {"proxy": str(tiny_llama)}, "device": "cpu"}
    pool.score("trajectory", settings=RECIPE, **options)
    shared = {**RECIPE, "trajectory.share": "0.5", "trajectory.batch_tokens": "300"}
    report = pool.score("trajectory", settings=shared, **options)
    assert report.as_dict()["score_sets"][0]["n_scored"] == 40
    assert len(pool.store.score_sets()) == 2
    with pytest.raises(ConfigError, match="2 score sets fit 'trajectory'.*--model-for proxy=MODEL"):
        pool.select("s2l", budget=5)


def test_without_a_proxy_nothing_is_substituted(pool, tiny_llama):
    with pytest.raises(MissingColumnError, match="--model-for proxy=MODEL"):
        pool.select("s2l", budget=5, model=str(tiny_llama))
    with pytest.raises(CurateError, match="pythia-70m-deduped"):
        s2l(pool, "EleutherAI/pythia-70m-deduped")


def test_a_recipe_that_does_not_fit_says_how_to_change_it(pool, tiny_llama):
    with pytest.raises(ConfigError, match="less than one batch.*--set trajectory.FIELD=VALUE"):
        s2l(pool, tiny_llama, settings={"trajectory.batch_tokens": "100000"})
    with pytest.raises(ConfigError, match="cannot record 50 points of a run of"):
        s2l(pool, tiny_llama, settings={"trajectory.points": "50"})


def test_the_plan_says_what_would_be_trained(pool, tiny_llama):
    plan = s2l(pool, tiny_llama, dry_run=True)
    assert "on 100% of the pool and measures the pool at 2 points" in plan.plan_text()
    assert n_trials(pool) == 0


@pytest.mark.slow
def test_reproduce_does_not_train_again(pool, tiny_llama, tmp_path):
    from curate.api.reproduce import reproduce
    from curate.contracts.progress import SilentProgress

    exported = s2l(pool, tiny_llama).export(tmp_path / "subset.jsonl")
    with pytest.raises(StoreError, match="again, as --rescore and --target do, trains none"):
        reproduce(
            Path(exported["manifest"]), store=pool.store.path, output=None, rescore=True, workers=1,
            progress=SilentProgress(),
        )  # fmt: skip
