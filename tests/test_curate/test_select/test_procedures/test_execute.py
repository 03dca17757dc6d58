"""Steps that train, carried out on a tiny pool."""

import json
from dataclasses import replace

import pytest

import curate as cu
from curate.contracts import TARGET_SET, Score, Select, Train
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError
from curate.registry import get_procedure
from curate.scoring.options import ScoringOptions
from curate.select.options import SelectOptions
from curate.select.procedures.execute import StepExecutor
from curate.select.run import select
from curate.store.parts import read_json

SETTINGS = {"data.template": "plain", "length.max_steps": 2, "compute.threads": 1}
WAYS = {
    **SETTINGS, "objective": "dft", "policy": "drop-highest-loss", "policy.k": 2,
    "mixture": "loss-proportional", "mixture.period": 1,
}  # fmt: skip


@pytest.fixture
def execute(tmp_path, tiny_model) -> StepExecutor:
    """Carry out steps of a procedure on a pool of twenty examples."""
    lines = (
        json.dumps({"prompt": f"say {n}", "response": f"the cat sat on {n}", "source": "ab"[n % 2]})
        for n in range(20)
    )
    (tmp_path / "pool.jsonl").write_text("\n".join(lines))
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "pool.jsonl"))
    scoring = ScoringOptions(models={"target": str(tiny_model)}, device="cpu")
    return StepExecutor(
        pool.store, get_procedure("pipeline")(), SelectOptions("random"), scoring,
        SilentProgress(), lambda chosen: select(pool.store, chosen, scoring, SilentProgress()),
    )  # fmt: skip


def run_of(execute: StepExecutor, model: str) -> dict:
    """Return what decided the weights of a trained model."""
    return dict(read_json(execute.store.parts / "runs" / f"step-{model}" / "run" / "run.json"))


def test_a_train_step_chooses_its_objective_policy_and_mixture(execute):
    chosen = execute(Select("random", "12")).id
    plain, ways = (execute(Train(chosen, settings)).id for settings in (SETTINGS, WAYS))
    assert plain != ways
    assert run_of(execute, plain)["method"]["objective"] == {"name": "next-token"}
    assert run_of(execute, ways)["method"] == {
        "lora": None,
        "objective": {"name": "dft"},
        "policy": {"name": "drop-highest-loss", "k": 2},
        "mixture": {"name": "loss-proportional", "period": 1, "power": 1.0},
    }
    defaults = {"objective": "next-token", "policy": "keep-all", "mixture": "uniform"}
    assert run_of(execute, execute(Train(chosen, {**SETTINGS, **defaults})).id) == run_of(
        execute, plain
    )


def test_a_train_step_on_the_target_set_needs_one(execute):
    with pytest.raises(
        ConfigError, match="trains on the target set, but the run selects towards none"
    ):
        execute(Train(TARGET_SET, SETTINGS))


def test_an_adapter_is_not_left_out_of_what_is_trained(execute):
    chosen = execute(Select("random", "12")).id
    trained = execute(Train(chosen, SETTINGS)).id
    scoring = replace(execute.scoring, adapter="some/adapter")
    with pytest.raises(
        ConfigError, match="--adapter some/adapter is on the model that scores, but not"
    ):
        replace(execute, scoring=scoring)(Score("length", model=trained))


def test_a_train_step_of_an_unknown_objective_names_the_nearest(execute):
    chosen = execute(Select("random", "12")).id
    with pytest.raises(ConfigError, match="no objective 'dtf'; did you mean 'dft'"):
        execute(Train(chosen, {"objective": "dtf"}))
