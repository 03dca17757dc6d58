"""A rule of one's own: as a sequence of steps with planted losses, and on a tiny model for real."""

import json
import math
import random

import numpy as np
import pytest
from driven import drive

import curate as cu
from curate import BudgetError, ConfigError, Mean, Score, Select, Train
from curate.algorithms.rules.linear_rules import read_rule
from curate_selectors.instructmining_fit import InstructMiningFit

TWO = ("response_tokens", "mtld")


def finish(procedure, losses=lambda mean: 2.0, seed=0):
    """Run a procedure with made-up means and losses of them; return its steps and outcome."""
    rng = np.random.default_rng(1)
    mean = {}

    def facts_of(step, number):
        nonlocal mean
        if isinstance(step, Mean):
            mean = {name: float(rng.normal(50, 10)) for name in step.expressions}
            return {"mean": mean}
        return {"nll": losses(mean)} if isinstance(step, Train) else {}

    return drive(procedure, facts_of, "10", seed)


def test_the_rule_has_the_planted_coefficients_in_their_own_units():
    def loss(mean):
        return math.exp(0.3 + 0.02 * mean["response_tokens"] - 0.01 * mean["mtld"])

    steps, outcome = finish(InstructMiningFit(TWO, runs=30, estimator="ols"), loss)
    chosen = steps[-1]
    assert (chosen.method, chosen.budget) == ("instructmining", "10")
    rule = read_rule(chosen.config["rule"])
    found = {term.indicator: term.coefficient for term in rule.terms}
    assert found == pytest.approx({"response_tokens": 0.02, "mtld": -0.01}, rel=1e-9)
    assert rule.intercept == pytest.approx(0.3, rel=1e-9)
    assert outcome.selection_id == f"Select-{len(steps)}"
    assert (
        "rule fitted on 30 runs of 1000 examples (ols): response_tokens +0.02"
        in outcome.warnings[0]
    )
    assert "R^2 of runs left out 1.00" in outcome.warnings[0]


def test_no_run_trains_on_the_held_out_examples_and_the_selection_leaves_them_too():
    steps, _ = finish(InstructMiningFit(TWO, runs=5), lambda mean: 1 + mean["mtld"] / 100)
    held_out, *others = [
        (f"{type(s).__name__}-{n}", s) for n, s in enumerate(steps, 1) if isinstance(s, Select)
    ]
    assert all(step.without == (held_out[0],) for _, step in others)
    assert len({step.seed for _, step in others[:-1]}) == 5
    trained = [step for step in steps if isinstance(step, Train)]
    assert all(step.evaluate == held_out[0] for step in trained)


def test_only_the_scores_of_the_indicators_are_asked_for():
    steps, _ = finish(InstructMiningFit(("knn_6", "mtld"), runs=5), lambda m: 1 + m["mtld"] / 100)
    assert [step.scorer for step in steps if isinstance(step, Score)] == [
        "embedding",
        "knn",
        "mtld",
    ]


def test_too_few_runs_and_unknown_indicators_are_named():
    with pytest.raises(ConfigError, match="4 runs cannot fit 3 indicators.*runs to at least 5"):
        InstructMiningFit(runs=4)
    with pytest.raises(ConfigError, match="no indicator 'rewards'; choose from: .*reward"):
        InstructMiningFit(("rewards",))
    with pytest.raises(BudgetError, match="needs a budget"):
        next(InstructMiningFit().run(None, 0))
    _, outcome = finish(InstructMiningFit(TWO, runs=6), lambda m: 1 + m["mtld"] / 100)
    assert "6 runs are few for 2 indicators" in outcome.warnings[1]


@pytest.mark.slow
def test_on_a_model_it_fits_selects_and_keeps_the_rule(tmp_path, tiny_model):
    from curate.api.reproduce import reproduce

    rng = random.Random(0)
    rows = [
        {"prompt": f"what is {n}", "response": "it is " + "so " * rng.randint(0, 9) + str(n)}
        for n in range(80)
    ]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    settings = {
        "instructmining-fit.indicators": "response_tokens,mtld", "instructmining-fit.runs": "4",
        "instructmining-fit.subset": "20", "instructmining-fit.epochs": "1",
        "instructmining-fit.held_out": "10%", "instructmining-fit.lr": "3e-3",
    }  # fmt: skip
    chosen = pool.select(
        "instructmining-fit", budget=15, model=str(tiny_model), settings=settings, device="cpu"
    )
    assert len(chosen) == 15
    rule = read_rule(chosen.document["config"]["rule"])
    assert [term.indicator for term in rule.terms] == ["response_tokens", "mtld"]
    assert any("rule fitted on 4 runs" in text for text in chosen.document["warnings"])
    assert chosen.document["procedure"]["n_models"] == 4
    chosen.export(tmp_path / "subset.jsonl")
    before = pool.selection(chosen.id).document
    again = reproduce(
        tmp_path / "subset.jsonl.manifest.json", store=None, output=None, rescore=False,
        workers=None, progress=pool.progress,
    )  # fmt: skip
    assert again["identical"], again["differences"]
    assert pool.selection(chosen.id).document == before, "making it again changes no record"
