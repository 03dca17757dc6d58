"""Rounds of drawing and training: as a sequence of steps, and on a tiny model for real."""

import json
import random

import numpy as np
import pytest
from driven import drive

import curate as cu
from curate import Budget, BudgetError, ConfigError, Evaluate, Score, Select, Train, Union
from curate.algorithms.cluster_draw import update_cluster_weights
from curate.errors import ProcedureError
from curate_selectors.kmq_iterative import KMQIterative

SETTINGS = {
    "kmq-iterative.k": "4", "kmq-iterative.epochs": "1", "kmq-iterative.lr": "3e-3",
}  # fmt: skip


def steps_of(procedure, budget, groups=None):
    """Run a procedure with made-up results, 1,000 examples in the pool; return its steps."""
    return run_of(procedure, budget, groups)[0]


def run_of(procedure, budget, groups=None):
    """Run a procedure with made-up results; return its steps and its outcome."""

    def facts_of(step, number):
        if isinstance(step, Select):
            asked = Budget.parse(step.budget)
            n = int(asked.amount * (1_000 if asked.unit == "share" else 1) + 1e-9)
            return {"n_pool": 1_000, "n_selected": n, "n_tokens": n}
        return {"groups": groups or {"0": [5, 0.5], "1": [5, -0.5]}}

    return drive(procedure, facts_of, budget)


@pytest.mark.parametrize(
    ("budget", "sizes"), [("100", [33, 33, 34]), ("10%", [33, 33, 34]), ("3", [1, 1, 1])]
)
def test_the_rounds_add_up_to_the_budget(budget, sizes):
    draws = [s for s in steps_of(KMQIterative(), budget) if isinstance(s, Select)]
    parts = [Budget.parse(draw.budget) for draw in draws]
    found = [p.amount * (1_000 if p.unit == "share" else 1) for p in parts]
    assert [int(n + 1e-9) for n in found] == sizes


def test_rounds_smaller_than_the_number_of_clusters_are_said():
    (warning,) = run_of(KMQIterative(), "90")[1].warnings
    assert warning == (
        "rounds of 30, 30, 30 examples from 512 clusters: at least 482 clusters give none to a round, "
        "by chance, and have no score of their own after it; use fewer with "
        "--set kmq-iterative.k=15, or select more"
    )
    assert run_of(KMQIterative(k=15), "90")[1].warnings == ()


def test_a_token_budget_is_spent_in_parts():
    draws = [s for s in steps_of(KMQIterative(), "3000tok") if isinstance(s, Select)]
    assert [draw.budget for draw in draws] == ["1000tok"] * 3


def test_every_round_draws_without_the_earlier_ones_and_trains_on_all_of_them():
    steps = steps_of(KMQIterative(k=2), "90")
    draws = [s for s in steps if isinstance(s, Select)]
    assert [len(draw.without) for draw in draws] == [0, 1, 2]
    trained = [s for s in steps if isinstance(s, Train)]
    assert len(trained) == 2, "nothing is trained after the last draw"
    united = [s for s in steps if isinstance(s, Union)]
    assert [len(one.selections) for one in united] == [1, 2, 3]
    assert len({draw.seed for draw in draws}) == 3


@pytest.mark.parametrize("update", ["hedge", "official"])
def test_the_weights_of_a_round_follow_equation_6(update):
    groups = {"0": [5, 0.5], "1": [5, -0.5]}
    draws = [
        s for s in steps_of(KMQIterative(k=3, update=update), "90", groups) if isinstance(s, Select)
    ]
    weights = np.full(3, 1 / 3)
    for draw in draws:
        assert [float(w) for w in draw.config["weights"].split(",")] == weights.tolist()
        weights = update_cluster_weights(weights, np.array([0.5, -0.5, np.nan]), update, 1.0)


@pytest.mark.parametrize(
    ("settings", "by_size"),
    [
        ({}, [True, True, True]),
        ({"update": "official"}, [True, False, False]),  # which ignores what was before
        ({"init": "uniform"}, [False, False, False]),
    ],
)
def test_the_first_round_is_by_size_unless_asked_and_hedge_keeps_it(settings, by_size):
    draws = [s for s in steps_of(KMQIterative(**settings), "90") if isinstance(s, Select)]
    assert [draw.config["by_size"] for draw in draws] == by_size


def test_each_scorer_asks_for_its_own_evaluation():
    [gain, _] = [s for s in steps_of(KMQIterative(), "90") if isinstance(s, Evaluate)]
    assert (gain.minus, gain.answers) == ("", 0)
    other = KMQIterative(scorer="perplexity", max_new_tokens=9, rescore="new")
    steps = steps_of(other, "90")
    [_, asked] = [s for s in steps if isinstance(s, Evaluate)]
    assert (asked.minus, asked.answers) == (None, 9)
    assert (
        asked.selection
        == f"Select-{1 + max(i for i, s in enumerate(steps[:9]) if isinstance(s, Select))}"
    )


@pytest.mark.parametrize(("rescore", "counts"), [("all", [1, 2]), ("new", [1, 1])])
def test_rewards_of_references_are_computed_once_for_each_draw(rescore, counts):
    steps = steps_of(KMQIterative(scorer="reward", rescore=rescore, reward_format="pair"), "90")
    names = [f"{type(step).__name__}-{number}" for number, step in enumerate(steps, 1)]
    rewarded = [(n, s) for n, s in zip(names, steps, strict=True)
                if isinstance(s, Score) and s.scorer == "reward"]  # fmt: skip
    draws = [n for n, s in zip(names, steps, strict=True) if isinstance(s, Select)]
    assert [step.within for _, step in rewarded] == draws[:2]
    assert all((s.role, s.config) == ("reward", {"format": "pair"}) for _, s in rewarded)
    asked = [step for step in steps if isinstance(step, Evaluate)]
    assert [len(step.rewards) for step in asked] == counts
    assert asked[1].rewards[-1] == rewarded[1][0] and asked[1].answers == 128
    first = next(place for place, step in enumerate(steps) if isinstance(step, Train))
    assert names.index(rewarded[0][0]) < first, "a missing reward model is found before training"


def test_wrong_settings_and_budgets_are_named():
    with pytest.raises(ConfigError, match="rounds must be at least 1, got 0"):
        KMQIterative(rounds=0)
    with pytest.raises(ConfigError, match="tau must be positive"):
        KMQIterative(tau=0.0)
    with pytest.raises(BudgetError, match="less than one example for each of 3 rounds"):
        steps_of(KMQIterative(), "2")
    with pytest.raises(BudgetError, match="needs a budget"):
        next(KMQIterative().run(None, 0))


# For real ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kmq")
    rng = random.Random(0)
    rows = [
        {
            "prompt": f"what is {rng.randint(1, 99)} plus {n}",
            "response": "it is " + "so " * (n % 5) + str(n),
        }
        for n in range(60)
    ]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = cu.open(folder / "curate.duckdb", create=True)
    opened.ingest(str(folder / "pool.jsonl"))
    return opened


def selected(pool, model, **settings):
    return pool.select(
        "kmq-iterative",
        budget=20,
        model=str(model),
        settings={**SETTINGS, **settings},
        device="cpu",
    )


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["likelihood-gain", "perplexity"])
def test_on_a_model_it_meets_the_budget_and_leaves_no_weights(pool, tiny_model, scorer):
    chosen = selected(
        pool, tiny_model,
        **{"kmq-iterative.scorer": scorer, "kmq-iterative.max_new_tokens": "4"},
    )  # fmt: skip
    ids = chosen.rows().column("id").to_pylist()
    assert len(ids) == len(set(ids)) == 20
    assert chosen.document["method"] == "kmq-iterative"
    cost = chosen.document["procedure"]
    assert cost["n_models"] == 2
    assert cost["tokens"] > 0 and cost["flops"] > 0
    journal = (pool.store.parts / "procedures" / "kmq-iterative.jsonl").read_text().splitlines()
    done = [json.loads(line) for line in journal]
    costs = [
        one["result"]["facts"]["tokens"]
        for one in done
        if one["run"] == done[-1]["run"] and one["step"]["kind"] in ("train", "evaluate")
    ]
    assert len(costs) == 4 and all(costs) and cost["tokens"] == sum(costs)
    assert not list((pool.store.parts / "runs").glob("step-*"))
    again = selected(
        pool, tiny_model,
        **{"kmq-iterative.scorer": scorer, "kmq-iterative.max_new_tokens": "4"},
    )  # fmt: skip
    assert again.rows().equals(chosen.rows())


@pytest.mark.slow
def test_a_reward_model_weighs_the_clusters(pool, tiny_model, tmp_path):
    from tiny_reward import save_tiny_reward

    settings = {**SETTINGS, "kmq-iterative.scorer": "reward", "kmq-iterative.max_new_tokens": "4"}
    arguments = {"budget": 20, "model": str(tiny_model), "settings": settings, "device": "cpu"}
    with pytest.raises(
        cu.MissingColumnError, match="needs a reward model; pass --model-for reward="
    ):
        pool.select("kmq-iterative", **arguments)
    assert not list((pool.store.parts / "runs").glob("step-*")), "nothing was trained before"
    reward = str(save_tiny_reward(tmp_path / "reward"))
    chosen = pool.select("kmq-iterative", model_for={"reward": reward}, **arguments)
    assert len(chosen) == 20 and chosen.document["procedure"]["n_models"] == 2
    counts = [s.n_examples for s in pool.store.score_sets() if s.scorer == "reward"]
    assert counts == [6, 7], "the references of the first two draws, and nothing else"


@pytest.mark.slow
def test_gaps_are_the_reference_minus_the_answer(pool, tmp_path):
    from dataclasses import replace

    from tiny_reward import save_tiny_reward

    from curate.scoring.options import ScoringOptions
    from curate.select.procedures.rewards import reward_gaps
    from curate.train.data import rows_of_selection

    reward = str(save_tiny_reward(tmp_path / "reward"))
    drawn = pool.select("random", budget=3)
    [one] = pool.score("reward", model_for={"reward": reward}, within=drawn.id).sets
    options = ScoringOptions(models={"reward": reward}, device="cpu")
    examples = [row.example for row in rows_of_selection(pool.store, drawn.id)]
    same = reward_gaps(pool.store, (one.status.set_id,), examples, options)
    assert list(same.values()) == pytest.approx([0, 0, 0], abs=1e-6) and len(same) == 3
    other = [
        replace(e, messages=(*e.messages[:-1], {"role": "assistant", "content": "no"}))
        for e in examples[:2]
    ]
    gaps = reward_gaps(pool.store, (one.status.set_id,), other, options)
    assert set(gaps) == {e.id for e in other}
    table = pool.sql(f"select id, reward from score_set('{one.status.set_id}')")
    gold = dict(table.iter_rows())
    [answer] = pool_rewards(tmp_path, other[:1], reward)
    assert gaps[other[0].id] == pytest.approx(gold[other[0].id] - answer, abs=1e-6)


def pool_rewards(folder, examples, reward):
    """Return the rewards of some conversations by way of a pool of their own."""
    rows = [{"messages": [dict(m) for m in e.messages]} for e in examples]
    (folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = cu.open(folder / "other.duckdb", create=True)
    other.ingest(str(folder / "other.jsonl"))
    other.score("reward", model_for={"reward": reward})
    return other.sql("select reward.reward as r from scores")["r"].to_list()


@pytest.mark.slow
def test_an_export_is_made_again_without_training(pool, tiny_model, tmp_path, monkeypatch):
    from curate.api.reproduce import reproduce
    from curate.train import api

    chosen = selected(pool, tiny_model, **{"kmq-iterative.tau": "2"})
    chosen.export(tmp_path / "subset.jsonl")
    monkeypatch.setattr(api, "train", None)
    arguments = {"store": None, "output": None, "workers": None, "progress": pool.progress}
    manifest = tmp_path / "subset.jsonl.manifest.json"
    assert reproduce(manifest, rescore=False, **arguments)["identical"]
    with pytest.raises(cu.StoreError, match="'kmq-iterative' trains models to select"):
        reproduce(manifest, rescore=True, **arguments)


@pytest.mark.slow
def test_more_examples_in_the_pool_are_another_run(tmp_path, pool, tiny_model):
    import shutil

    shutil.copytree(pool.store.path.parent, tmp_path / "copy")
    grown = cu.open(tmp_path / "copy" / "curate.duckdb", create=True)
    before = selected(grown, tiny_model)
    more = [{"prompt": f"name {n}", "response": f"it is {n}"} for n in range(40)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    grown.ingest(str(tmp_path / "more.jsonl"))
    after = selected(grown, tiny_model)
    assert after.document["n_pool"] == before.document["n_pool"] + 40


@pytest.mark.slow
def test_interrupted_in_the_second_training_it_goes_on(pool, tiny_model, monkeypatch):
    from curate.train import api

    whole = selected(pool, tiny_model, **{"kmq-iterative.tau": "0.5"})
    real, calls = api.train, []

    def breaking(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    changed = {"kmq-iterative.tau": "0.5000001"}
    with monkeypatch.context() as patch:
        patch.setattr(api, "train", breaking)
        with pytest.raises(KeyboardInterrupt):
            selected(pool, tiny_model, **changed)
    assert len(list((pool.store.parts / "runs").glob("step-*"))) == 2
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(api, "train", lambda *a, **k: (calls.append(a), real(*a, **k))[1])
        resumed = selected(pool, tiny_model, **changed)
    assert len(calls) == 1, "the first training is not run again"
    assert resumed.rows().column("id").equals(whole.rows().column("id"))


def test_weights_that_are_gone_are_named(pool, tiny_model, monkeypatch):
    from curate.select.procedures.execute import StepExecutor

    def gone(self, step):
        return StepExecutor._trained(self, "0" * 16)

    monkeypatch.setattr(StepExecutor, "_evaluate", gone)
    with pytest.raises(ProcedureError, match="trained was deleted from .*delete the folder"):
        selected(pool, tiny_model, **{"kmq-iterative.tau": "3"})


def test_without_a_model_it_says_which_to_pass(pool):
    with pytest.raises(cu.CurateError, match="--model"):
        pool.select("kmq-iterative", budget=20, settings=SETTINGS)
