"""What a proof leaves unchanged, stops at, and will not train on."""

import json
import signal
import time

import pytest

from curate.cli.prove import _plan as plan_text
from curate.errors import InterruptedRunError, TrainError
from curate.prove import costs
from curate.prove.config import ProveConfig
from curate.prove.plan import make_plan
from curate.prove.run import _in_time
from curate.prove.targets import read_targets
from curate.scoring.options import ScoringOptions
from curate.train.time_limit import stop_after

TRAIN = {"data.batch_tokens": 300, "optimiser.lr": 3e-3, "compute.threads": 1}


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["heard", "ignored"])
def ctrl_c(request):
    """What Ctrl-C does: shells let what a script runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    assert signal.signal(signal.SIGINT, before) is request.param


@pytest.mark.usefixtures("ctrl_c")
def test_time_is_up_in_the_middle_of_a_trial():
    began = time.perf_counter()
    with (
        pytest.raises(InterruptedRunError, match="stopped after .* h: 1 of 3 trials.*rerun"),
        _in_time(1, 3, 0.2 / 3600, began),
    ):
        time.sleep(30)
    assert time.perf_counter() - began < 20
    with pytest.raises(KeyboardInterrupt), _in_time(1, 3, 1.0, began):
        raise KeyboardInterrupt  # somebody's own
    with _in_time(1, 3, None, began):
        pass


def test_ctrl_c_that_is_ignored_stays_so_until_the_time_is_up():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_after(1.0):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_full_epochs_is_of_what_may_be_chosen(pool, target_file, tiny_llama):
    targets = read_targets([str(target_file)])
    scoring = ScoringOptions(models={"target": str(tiny_llama)}, device="cpu")

    def tokens(where: str | None) -> dict[str, int]:
        config = ProveConfig(
            ("longest",), ("15",), seeds=1, max_tokens=400, full="both", where=where,
            train={"data.batch_tokens": 100},
        )  # fmt: skip
        plan = make_plan(pool.store, config, scoring, targets, measure=False)
        return {trial.arm.label: trial.max_tokens for trial in plan.trials}

    assert tokens(None)["full-epochs"] == 400 * 60 // 15
    half = tokens("source = 'left'")
    assert (half["full-epochs"], half["full"], half["longest"]) == (400 * 30 // 15, 400, 400)


@pytest.mark.slow
def test_too_little_to_train_on_is_said_before_anything_is_trained(
    tmp_path, make_rows, target_file, tiny_llama
):
    import curate as cu

    rows = [
        json.loads(line) for line in make_rows(tmp_path / "a.jsonl", 30, 1).read_text().splitlines()
    ]
    rows += [
        {"prompt": f"{i}?", "response": "1", "source": "s", "category": "c"} for i in range(30)
    ]
    own = tmp_path / "own.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = cu.open(tmp_path / "own.duckdb", create=True)
    pool.ingest(str(own))
    d = pool.prove(
        "top-k:rank=-n_chars", target=str(target_file), model=str(tiny_llama), budget="12", seeds=1,
        max_tokens=600, device="cpu", train={**TRAIN, "data.batch_tokens": 150},
    )  # fmt: skip
    verdict = d["methods"]["top-k:rank=-n_chars"]["verdict"]
    assert verdict.startswith("not applicable: its 12 examples have ")
    assert "less than one batch of 150, which is the same for every run" in verdict
    assert d["n_trained"] == 2


def test_a_loss_that_is_not_finite_is_no_result(
    pool, target_file, tiny_llama, tmp_path, monkeypatch
):
    from curate.train.evaluation import evaluate

    measure = evaluate.response_nll

    def broken(*given):
        nll = measure(*given)
        nll[3] = float("nan")
        return nll

    monkeypatch.setattr(evaluate, "response_nll", broken)
    with pytest.raises(TrainError, match=r"1 of 24 examples of evaluation set 'target' have no finite "
                       r"loss after step \d+ \(first: [0-9a-f]{32}\): training has diverged"):  # fmt: skip
        pool.prove(
            "longest", target=str(target_file), model=str(tiny_llama), budget="50%", seeds=1,
            max_tokens=300, device="cpu", train=TRAIN,
        )  # fmt: skip


def test_a_run_that_arms_share_is_planned_once():
    trials = [
        {"trial_id": "a", "method": method, "budget": "9", "seed": 0, "max_tokens": 100, "done": False}
        for method in ("random", "same")
    ]  # fmt: skip
    text = plan_text({"plan": {"trials": trials, "n_missing": 1, "tokens": 100}})
    assert text.endswith("1 trial to train, 100 tokens in all")


def test_energy_is_unknown_where_that_of_a_part_is(monkeypatch):
    known = {"a": 3.0, "b": None, "c": 4.0}
    monkeypatch.setattr(costs, "_score_sets", lambda store, selection, statuses: selection)
    monkeypatch.setattr(
        costs, "_of_set",
        lambda store, name: {"seconds": 1.0, "tokens": 2, "flops": 5.0, "energy_j": known[name]},
    )  # fmt: skip
    statuses = {name: name for name in known}

    class Result:
        def __init__(self, *names: str) -> None:
            self.selection = dict.fromkeys(names, "")

    def energy(*names: str) -> float | None:
        return costs._scoring(None, [Result(*names)], statuses)["energy_j"]

    assert (energy("a", "c"), energy("a", "b"), energy()) == (7.0, None, 0.0)
