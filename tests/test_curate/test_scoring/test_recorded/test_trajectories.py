import json
import shutil

import numpy as np
import pytest

import curate as cu
from curate.data.read.ingest import ingest
from curate.errors import ConfigError, InterruptedRunError, TrainError
from curate.scoring.recorded.from_checkpoints import trajectory_of_checkpoints
from curate.scoring.recorded.train_log import TrainLogRecorder
from curate.scoring.recorded.trajectories import TrajectoryRecorder, spaced_steps
from curate.store import Store
from curate.train.api import train
from curate.train.config import LengthConfig, WatchConfig
from curate.train.data import rows_of_data, rows_of_pool, rows_of_selection
from curate.train.loop import Loop
from curate.train.record import save_record

LONG = "word " * 900  # does not fit the context


@pytest.fixture
def pool(tmp_path, make):
    """A store of 60 examples, one of which cannot be rendered, and its input file."""
    path = tmp_path / "pool.jsonl"
    records = [{"messages": list(row.example.messages)} for row in make.rows(60)]
    records[3]["messages"] = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": "no"},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    store = Store(tmp_path / "curate.duckdb")
    ingest(store, str(path))
    return store


def losses(store, set_id):
    table = store.read(f"select id, losses, steps from score_set('{set_id}') order by id")
    return (
        table["id"].to_pylist(),
        np.array(table["losses"].to_pylist()),
        table["steps"].to_pylist(),
    )


def reference(folder, rows):
    """Mean response NLL by the one-row loss of transformers itself, batch 1, in order of id."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for row in sorted(rows, key=lambda row: row.id):
        prompt = tokenizer(row.example.messages[0]["content"] + "\n")["input_ids"]
        answer = tokenizer(row.example.messages[1]["content"], add_special_tokens=False)
        ids = [*prompt, *answer["input_ids"], tokenizer.eos_token_id]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        with torch.no_grad():
            found.append(float(model(torch.tensor([ids]), labels=torch.tensor([labels])).loss))
    return np.array(found)


def stop_at(monkeypatch, recorder, step):
    """Have a recorder end its run where it would measure at a step."""
    record = recorder.record

    def stopping(at, model, processes):
        if at == step:
            raise InterruptedRunError("stopped")
        return record(at, model, processes)

    monkeypatch.setattr(recorder, "record", stopping)


@pytest.mark.slow
def test_losses_are_those_of_a_batch_of_one(pool, config, tmp_path):
    rows = rows_of_pool(pool)
    usable = [row for row in rows if LONG not in row.example.messages[0]["content"]]
    subset = usable[:30]
    record = train(config(), subset, tmp_path / "run", recorder=TrajectoryRecorder(pool, 2))
    ids, found, steps = losses(pool, record.outcome["trajectory"])
    assert ids == sorted(row.id for row in usable)
    assert found.shape == (59, 2)
    assert all(row == [2, 4] for row in steps)
    assert np.abs(found[:, 1] - reference(tmp_path / "run", usable)).max() < 1e-5
    assert np.abs(found[:, 0] - found[:, 1]).max() > 1e-3
    failures = pool.read("select reason, count(*) as n from failures group by 1").to_pylist()
    assert failures == [{"reason": "prompt_exceeds_context", "n": 1}]
    status = next(s for s in pool.score_sets() if s.set_id == record.outcome["trajectory"])
    assert (status.alias, status.complete, status.n_examples) == ("trajectory", True, 60)
    assert not (tmp_path / "run" / "trajectory" / status.set_id).exists()
    again = TrajectoryRecorder(pool, 2)
    other = train(config(), subset, tmp_path / "other", recorder=again)
    assert other.outcome["trajectory"] == record.outcome["trajectory"]
    assert other.cost.other_tokens == 0, "the pool was measured again"


@pytest.mark.slow
def test_killed_recording_goes_on_and_gives_the_same(pool, config, tmp_path, monkeypatch):
    rows = rows_of_pool(pool)
    saving = config(watch=WatchConfig(save_every=1))
    whole = train(saving, rows, tmp_path / "whole", recorder=TrajectoryRecorder(pool, 4))
    expected = losses(pool, whole.outcome["trajectory"])
    second = Store(tmp_path / "second.duckdb")
    ingest(second, str(tmp_path / "pool.jsonl"))
    recorder = TrajectoryRecorder(second, 4)
    stop_at(monkeypatch, recorder, 3)
    with pytest.raises(InterruptedRunError):
        train(saving, rows, tmp_path / "parts", recorder=recorder)
    train(saving, rows, tmp_path / "parts", recorder=TrajectoryRecorder(second, 4))
    found = losses(second, whole.outcome["trajectory"])
    assert found[0] == expected[0]
    assert np.array_equal(found[1], expected[1])


@pytest.mark.slow
def test_saved_checkpoints_give_the_recorded_trajectory(pool, config, tmp_path):
    rows = rows_of_pool(pool)
    saving = config(watch=WatchConfig(save_every=2))
    record = train(saving, rows, tmp_path / "run", recorder=TrajectoryRecorder(pool, 2))
    folders = sorted((tmp_path / "run" / "checkpoints").iterdir())
    set_id = trajectory_of_checkpoints(pool, folders, saving, alias="later")
    inside, after = losses(pool, record.outcome["trajectory"]), losses(pool, set_id)
    assert inside[0] == after[0] and inside[2] == after[2]
    assert np.array_equal(inside[1], after[1])
    exported = trajectory_of_checkpoints(pool, [tmp_path / "run"], saving, alias="exported")
    assert np.array_equal(losses(pool, exported)[1][:, 0], inside[1][:, 1])
    assert trajectory_of_checkpoints(pool, folders, saving) == set_id


@pytest.mark.slow
def test_a_trajectory_is_scored_at_the_checkpoints_of_a_run(pool, config, tmp_path):
    saving = config(watch=WatchConfig(save_every=2))
    record = train(
        saving, rows_of_pool(pool), tmp_path / "run", recorder=TrajectoryRecorder(pool, 2)
    )
    inside = losses(pool, record.outcome["trajectory"])
    opened, model = cu.open(pool.path), {"proxy": saving.model}
    asked = {"model_for": model, "alias": "later", "from_checkpoints": str(tmp_path / "run")}
    plan = opened.score("trajectory", **asked, dry_run=True).as_dict()["plan"]
    assert plan["passes"] == [] and "later" not in [s.alias for s in pool.score_sets()]
    [scored] = opened.score("trajectory", **asked).sets
    assert (scored.alias, scored.n_scored, scored.n_reused) == ("later", 60, 0)
    after = losses(pool, scored.status.set_id)
    assert inside[0] == after[0] and inside[2] == after[2]
    np.testing.assert_allclose(inside[1], after[1], rtol=1e-6)  # batches differ, so rounding does
    [again] = opened.score("trajectory", **asked).sets
    assert (again.status.set_id, again.n_scored, again.n_reused) == (scored.status.set_id, 0, 60)


@pytest.mark.slow
def test_a_trajectory_is_scored_at_model_folders_of_any_trainer(pool, config, tmp_path):
    rows = rows_of_pool(pool)
    record = train(config(), rows, tmp_path / "run", recorder=TrajectoryRecorder(pool, 1))
    copied = tmp_path / "trainer" / "checkpoint-4"
    shutil.copytree(tmp_path / "run", copied)
    (tmp_path / "trainer" / "runs").mkdir()  # what trainers leave beside their checkpoints
    for name in ("run.json", "record.json"):
        (copied / name).unlink()
    [scored] = (
        cu.open(pool.path)
        .score(
            "trajectory",
            model_for={"proxy": config().model},
            template="plain",
            from_checkpoints=str(tmp_path / "trainer"),
        )
        .sets
    )
    _, values, steps = losses(pool, scored.status.set_id)
    inside = losses(pool, record.outcome["trajectory"])[1]
    np.testing.assert_allclose(values, inside, rtol=1e-6)  # batches differ, and so does rounding
    assert set(map(tuple, steps)) == {(4,)}


def test_folders_that_hold_no_checkpoints_of_the_model_are_refused(pool, config, tmp_path):
    opened, model = cu.open(pool.path), {"proxy": config().model}
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    (empty / "notes").mkdir(parents=True)
    with pytest.raises(
        ConfigError,
        match=f"--from-checkpoints {missing}: no such folder; give the output folder of a training",
    ):
        opened.score("trajectory", model_for=model, from_checkpoints=str(missing))
    with pytest.raises(
        ConfigError,
        match=f"--from-checkpoints {empty}: no checkpoints in it; give the output folder of curate "
        "train with its checkpoints, or a folder of model folders such as checkpoint-500",
    ):
        opened.score("trajectory", model_for=model, from_checkpoints=str(empty))
    saving = config(watch=WatchConfig(save_every=2))
    train(saving, rows_of_pool(pool), tmp_path / "run")
    other = {"proxy": str(tmp_path / "run")}
    with pytest.raises(
        ConfigError, match="its run trained another model than .*/run; pass the model"
    ):
        opened.score("trajectory", model_for=other, from_checkpoints=str(tmp_path / "run"))
    with pytest.raises(
        ConfigError,
        match="--from-checkpoints measures a trajectory and nothing else, got --scorer "
        "trajectory,length; type: curate score --scorer trajectory --from-checkpoints",
    ):
        opened.score("trajectory", "length", model_for=model, from_checkpoints=str(empty))


def test_train_log_keeps_one_loss_an_epoch(pool, config, tmp_path):
    rows = [r for r in rows_of_pool(pool) if LONG not in r.example.messages[0]["content"]][:40]
    twice = config(length=LengthConfig(epochs=2), watch=WatchConfig(save_every=2))
    record = train(twice, rows, tmp_path / "run", recorder=TrainLogRecorder(pool))
    ids, found, steps = losses(pool, record.outcome["trajectory"])
    assert ids == sorted(row.id for row in rows)
    half = record.outcome["steps"] // 2
    assert found.shape == (40, 2)
    assert all(first <= half < second for first, second in steps)
    assert record.cost.other_tokens == 0
    reasons = pool.read("select reason, count(*) as n from failures group by 1").to_pylist()
    assert reasons == [{"reason": "not_trained_on", "n": 20}]
    with pytest.raises(ConfigError, match="source=train_log needs a run of at least 2 epochs"):
        train(config(), rows, tmp_path / "short", recorder=TrainLogRecorder(pool))


def test_more_points_than_steps_is_an_error(pool, config, tmp_path):
    assert spaced_steps(7, 7) == (1, 2, 3, 4, 5, 6, 7)
    with pytest.raises(ConfigError, match="cannot record 9 points of a run of 4 steps"):
        train(config(), rows_of_pool(pool), tmp_path / "run", recorder=TrajectoryRecorder(pool, 9))


def test_a_finished_run_without_its_trajectory_says_so(pool, config, tmp_path):
    rows = rows_of_pool(pool)
    train(config(), rows, tmp_path / "run")
    with pytest.raises(ConfigError, match="is complete, but its trajectory is not in this store"):
        train(config(), rows, tmp_path / "run", recorder=TrajectoryRecorder(pool, 2))


def test_rows_of_a_selection_carry_its_weights(pool, tmp_path):
    import pyarrow as pa

    ids = sorted(row.id for row in rows_of_pool(pool))[:3]
    table = pa.table(
        {
            "id": ids,
            "rank": [0, 1, 2],
            "gain": [1.0, 1.0, 1.0],
            "weight": pa.array([2.0, None, 0.5], pa.float64()),
            "reason": ["", "", ""],
        }
    )
    pool.save_selection({"selection_id": "abc123", "method": "x"}, table)
    rows = rows_of_selection(pool, "abc123")
    assert [(row.id, row.weight, row.source) for row in rows] == [
        (ids[0], 2.0, "pool"),
        (ids[1], 1.0, "pool"),
        (ids[2], 0.5, "pool"),
    ]


def test_rows_of_a_file_are_those_of_the_pool(pool, tmp_path):
    listed = rows_of_data(str(tmp_path / "pool.jsonl"))
    assert {row.id for row in listed} == {row.id for row in rows_of_pool(pool)}
    assert {row.source for row in listed} == {"pool"}


def test_record_is_a_row_of_trials(pool, config, make, tmp_path):
    held = {"held": make.rows(5, seed=3)}
    record = train(config(), rows_of_pool(pool), tmp_path / "run", evaluation=held)
    trial = save_record(pool, record, method="random", selection_id="abc", budget="10%")
    save_record(pool, record, method="random", selection_id="abc", budget="10%")
    (row,) = pool.read("select * from trials").to_pylist()
    assert (row["trial_id"], row["method"], row["seed"]) == (trial, "random", 0)
    assert (row["tokens"], row["status"]) == (record.cost.tokens, "done")
    evals = pool.read("select * from trial_evals order by metric").to_pylist()
    assert [(e["metric"], e["value"]) for e in evals] == [
        ("nll", record.final("held").mean_nll),
        ("perplexity", record.final("held").perplexity),
    ]
    assert evals[0]["tokens"] == record.cost.tokens


def test_a_run_that_cannot_be_recorded_any_more_is_refused_before_it_goes_on(
    pool, config, tmp_path, monkeypatch
):
    rows = rows_of_pool(pool)
    saving = config(watch=WatchConfig(save_every=1))
    recorder = TrajectoryRecorder(pool, 2)
    stop_at(monkeypatch, recorder, 4)
    with pytest.raises(InterruptedRunError):
        train(saving, rows, tmp_path / "run", recorder=recorder)
    (tmp_path / "more.jsonl").write_text('{"prompt": "One", "response": "more"}\n')
    ingest(pool, str(tmp_path / "more.jsonl"))
    monkeypatch.setattr(Loop, "run", pytest.fail)
    with pytest.raises(TrainError, match="the pool was not measured at step 2 .* another folder"):
        train(saving, rows, tmp_path / "run", recorder=TrajectoryRecorder(pool, 2))
