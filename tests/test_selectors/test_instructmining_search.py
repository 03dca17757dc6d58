"""The search for a subset size: as a sequence of steps with planted losses, and on a tiny model."""

import json
import math

import pytest
from driven import drive

import curate as cu
from curate import (
    Budget,
    ConfigError,
    Mean,
    MissingPackageError,
    Need,
    Score,
    Select,
    Train,
)
from curate.algorithms.rules.linear_rules import LinearRule, Term
from curate_selectors.instructmining_search import InstructMiningSearch, bounds

SHORT = LinearRule(
    "shortest", 0.0, (Term("response_tokens", "length.response_tokens", 0.01),),
    {"length": Need("length", "target")},
).to_json()  # fmt: skip


def finish(procedure, budget=None, n=40_000, loss=lambda size: (math.log(size / 900)) ** 2):
    """Run a procedure on a made-up pool with the loss of each size; return steps and outcome."""
    size, mean = 0, 0.0

    def facts_of(step, number):
        nonlocal size, mean
        if isinstance(step, Select):
            asked = Budget.parse(step.budget)
            size = int(asked.amount * (n if asked.unit == "share" else 1))
            return {"n_pool": n, "n_eligible": n, "n_selected": size}
        if isinstance(step, Mean):
            mean = float(number)
            return {"mean": dict.fromkeys(step.expressions, mean)}
        return {"nll": 1 + loss(size) + mean / 100} if isinstance(step, Train) else {}

    return drive(procedure, facts_of, budget, seed=3)


def grid(**settings):
    return InstructMiningSearch(search="grid", **settings)


def test_the_size_with_the_lowest_loss_is_kept_and_the_curve_is_said():
    steps, outcome = finish(grid())
    trained = [step for step in steps if isinstance(step, Train)]
    sizes = {f"Select-{n}": int(s.budget) for n, s in enumerate(steps, 1)
             if isinstance(s, Select) and s.method == "instructmining"}  # fmt: skip
    assert len(trained) == 16 and min(sizes[t.selection] for t in trained) == 400
    assert max(sizes[t.selection] for t in trained) == 4_000
    best = min(trained, key=lambda step: (math.log(sizes[step.selection] / 900)) ** 2)
    assert steps[-1].selections == (best.selection,)
    assert outcome.selection_id == f"Union-{len(steps)}"
    [curve] = outcome.warnings
    assert curve.startswith(
        f"best of 16 sizes from 400 to 4000 (grid): {sizes[best.selection]} examples; loss by "
        "size: 400 1.6576, "
    )
    assert curve.count(",") == 15


def test_blendsearch_starts_with_the_smallest_and_tries_no_size_twice():
    steps, outcome = finish(InstructMiningSearch(trials=6))
    sizes = [int(s.budget) for s in steps[2:] if isinstance(s, Select)]
    assert sizes[0] == 400 and len(set(sizes)) == len(sizes) == 6
    assert finish(InstructMiningSearch(trials=6)) == (steps, outcome)


def test_no_size_holds_a_held_out_example_and_all_are_trained_alike():
    steps, _ = finish(grid(trials=3))
    assert (steps[0].method, steps[0].budget) == ("random", "5%")
    rest = [step for step in steps[1:] if isinstance(step, Select)]
    assert all(step.without == ("Select-1",) and step.method == "instructmining" for step in rest)
    trained = [step for step in steps if isinstance(step, Train)]
    assert {(t.evaluate, t.seed, t.role) for t in trained} == {("Select-1", 3, "target")}


def test_a_size_above_the_budget_is_refused():
    with pytest.raises(ConfigError, match=r"high=2000 is more than the 1000 examples that budget"):
        finish(grid(trials=4, high=2_000), "1000")


def test_a_budget_is_the_cap():
    for budget in ("1000", "2.5%"):
        steps, outcome = finish(grid(trials=4), budget)
        assert max(int(s.budget) for s in steps[2:] if isinstance(s, Select)) == 1_000
        assert "from 400 to 1000 (grid)" in outcome.warnings[0]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ((100_000, 10_000, None, None), (1_000, 10_000)),
        ((10_000, 1_000, None, None), (256, 1_000)),
        ((100_000, 2_000, None, None), (1_000, 2_000)),
        ((2_000, 200, None, None), (20, 200)),
        ((2_000, 200, 50, 2_500), (50, 2_000)),
    ],
)
def test_bounds(given, found):
    assert bounds(*given) == found


def test_wrong_bounds_rules_and_trials_are_named():
    with pytest.raises(ConfigError, match="no size to search for from 500 to 200: 2000 examples"):
        bounds(2_000, 200, 500, None)
    with pytest.raises(ConfigError, match="between 9 and 3 examples cannot be searched for"):
        InstructMiningSearch(low=9, high=3)
    with pytest.raises(ConfigError, match="max_trials must be at least 2, got 1"):
        InstructMiningSearch(trials=1)
    with pytest.raises(ConfigError, match="no rule 'v9'; choose v1, v3, or give the file|no rule"):
        InstructMiningSearch(rule="v9")
    with pytest.raises(ConfigError, match="runs to at least 5"):
        InstructMiningSearch(rule="fit", runs=2)
    with pytest.raises(ConfigError, match="instructmining-search.epochs must be at least 1, got 0"):
        InstructMiningSearch(epochs=0)


def test_without_flaml_it_says_so_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("curate.algorithms.rules.size_search.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'curate-sft\[search\]', or choose"):
        next(InstructMiningSearch(rule="fit").run(None, 0))


def test_a_rule_can_be_fitted_first_and_its_held_out_examples_stay_out():
    steps, outcome = finish(
        grid(rule="fit", trials=2, indicators=("mtld",), runs=5, subset=100), "500"
    )
    assert [s.scorer for s in steps if isinstance(s, Score)] == ["mtld"]
    held_out = next(n for n, s in enumerate(steps, 1) if isinstance(s, Select))
    chosen = [s for s in steps if isinstance(s, Select) and s.method == "instructmining"]
    assert all(step.without == (f"Select-{held_out}",) for step in chosen)
    assert json.loads(chosen[0].config["rule"])["provenance"]["method"] == "instructmining-search"
    assert "rule fitted on 5 runs of 100 examples" in outcome.warnings[0]
    assert "best of 2 sizes" in outcome.warnings[-1]


@pytest.mark.slow
def test_on_a_model_no_size_is_trained_twice(tmp_path, tiny_model, monkeypatch):
    from curate.api.reproduce import reproduce
    from curate.train import api

    rows = [{"prompt": f"what is {n}", "response": "so " * (n % 7) + str(n)} for n in range(60)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    settings = {
        "instructmining-search.rule": SHORT, "instructmining-search.search": "grid",
        "instructmining-search.low": "5", "instructmining-search.trials": "3",
        "instructmining-search.held_out": "10%", "instructmining-search.epochs": "1",
        "instructmining-search.lr": "3e-3",
    }  # fmt: skip

    def selected():
        return pool.select(
            "instructmining-search", budget=20, model=str(tiny_model), settings=settings,
            device="cpu",
        )  # fmt: skip

    real, calls = api.train, []

    def breaking(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(api, "train", breaking)
        with pytest.raises(KeyboardInterrupt):
            selected()
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(api, "train", lambda *a, **k: (calls.append(a), real(*a, **k))[1])
        chosen = selected()
    assert len(calls) == 1, "two sizes were trained before the interruption"
    curve = chosen.document["warnings"][-1]
    assert curve.startswith("best of 3 sizes from 5 to 20 (grid)")
    assert f": {len(chosen)} examples;" in curve
    losses = dict(one.split() for one in curve.partition("loss by size: ")[2].split(", "))
    assert min(losses, key=lambda size: float(losses[size])) == str(len(chosen))
    assert chosen.document["procedure"]["n_models"] == 3
    assert pool.selection(chosen.id).document["warnings"] == chosen.document["warnings"]
    assert not list((pool.store.parts / "runs").glob("step-*"))
    chosen.export(tmp_path / "subset.jsonl")
    again = reproduce(
        tmp_path / "subset.jsonl.manifest.json", store=None, output=None, rescore=False,
        workers=None, progress=pool.progress,
    )  # fmt: skip
    assert again["identical"], again["differences"]
