"""Each shard leaves one line and one row of facts, and a run a record of itself while it lives."""

import errno
import json
import os
from pathlib import Path

import pytest

import curate as cu
from curate.contracts.progress import SilentProgress
from curate.errors import InterruptedRunError
from curate.scoring import job, pooled, shard_log
from curate.scoring.executors.shard_run import ShardRun
from curate.scoring.executors.tracing import traced
from curate.scoring.executors.worker import ShardTask, TaskRunner
from curate.scoring.options import ScoringOptions
from curate.scoring.plan import Pass, PassMember
from curate.scoring.requests import make_request
from curate.scoring.shard_log import RunRecord, n_by_set, recorded, with_retries
from curate.scoring.watching import watched
from curate.store import Store
from tests.copied import copied

N_SHARDS = 4
FACTS = {
    "time", "shard", "host", "scorers", "score_sets", "worker", "device", "examples", "failed", "late",
    "tokens", "seconds", "tokens_per_s", "padding", "retries", "peak_mib", "device_peak_mib",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    pool = cu.open(folder / "curate.duckdb", create=True)
    for n in range(N_SHARDS):  # a dataset is a shard of its own
        rows = [{"prompt": f"Say {n}, {i}.", "response": f"{n} {i} " * (n + 1)} for i in range(3)]
        pool.ingest(rows, source=f"s{n}")
    return folder


@pytest.fixture
def pool(made, tmp_path):
    return copied(made, tmp_path / "copy")


def lines(pool):
    [path] = (pool.store.parts / "logs").glob("shards-*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def interrupted_after(n, monkeypatch):
    """Let a run be interrupted when it has finished so many shards."""
    finished = []
    run = TaskRunner.run

    def run_some(self, task):
        if len(finished) == n:
            raise KeyboardInterrupt
        finished.append(task)
        return run(self, task)

    monkeypatch.setattr(TaskRunner, "run", run_some)


def test_every_shard_has_one_line_and_a_resumed_run_adds_those_it_scores(pool, monkeypatch, caplog):
    with monkeypatch.context() as patched, pytest.raises(InterruptedRunError):
        interrupted_after(1, patched)
        pool.score("mtld")
    assert len(lines(pool)) == 1
    with caplog.at_level("INFO", "curate"):
        pool.score("mtld", "text_stats")
    logged = lines(pool)
    assert all(set(line) == FACTS for line in logged)
    shards = [shard.shard_id for shard in pool.store.shards()]
    assert sorted((line["scorers"][0], line["shard"]) for line in logged) == sorted(
        (scorer, shard) for scorer in ("mtld", "text_stats") for shard in shards
    )
    first = next(line for line in logged if line["shard"] == shards[-1])
    assert (first["examples"], first["retries"]) == (3, 0)
    assert first["peak_mib"] > 20 and first["padding"] is None
    assert len(caplog.messages) == 2 * N_SHARDS - 1
    assert f"mtld, shard {shards[-1]} by {first['worker']} on cpu: 3 examples in " in caplog.text


def test_the_store_knows_how_each_shard_ran_and_a_rebuilt_one_does_too(pool):
    pool.score("mtld")
    sql = "select shard, worker, n_examples, n_retries from shard_runs order by shard"
    rows = pool.sql(sql).to_dicts()
    assert [row["shard"] for row in rows] == sorted(s.shard_id for s in pool.store.shards())
    assert [(row["n_examples"], row["n_retries"]) for row in rows] == [(3, 0)] * N_SHARDS
    [worker] = pool.store.status()["workers"]
    assert (worker["n_shards"], worker["n_examples"]) == (N_SHARDS, 3 * N_SHARDS)
    assert worker["worker"] == rows[0]["worker"] and worker["peak_mib"] > 20
    pool.store.rebuild()
    assert pool.sql(sql).to_dicts() == rows


def test_a_store_of_before_workers_measured_themselves_opens_and_gets_the_relation(pool):
    with pool.store.write() as con:
        con.execute("drop table shard_runs")
    assert pool.store.status()["workers"] == []
    assert watched(pool.store)["workers"] == []
    pool.score("mtld")
    assert pool.sql("select count(*) as n from shard_runs").to_dicts() == [{"n": N_SHARDS}]


def test_a_run_is_on_record_while_it_lives_and_when_it_ended_early(tmp_path):
    task = ShardTask(0, "s0", tmp_path, 7, {"aa": tmp_path / "a.parquet", "bb": tmp_path / "b"})
    with recorded(tmp_path, n_by_set([task, task]), 2):
        [run] = RunRecord.all_in(tmp_path)
        assert run.is_alive and run.n_workers == 2
        assert run.n_examples == {"aa": 14, "bb": 14}
    assert RunRecord.all_in(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, {"aa": 7}, 1):
        raise KeyboardInterrupt
    [run] = RunRecord.all_in(tmp_path)
    assert not run.is_alive
    with recorded(tmp_path, {"aa": 7}, 1):  # the next one of the same sets takes its place
        assert [run.is_alive for run in RunRecord.all_in(tmp_path)] == [True]


def test_progress_says_what_runs_what_was_interrupted_and_what_is_left(pool, monkeypatch):
    assert watched(pool.store)["score_sets"] == []
    seen = []

    def look(self, report):
        seen.append(watched(Store(pool.store.path, create=False)))
        write(self, report)

    write = shard_log.ShardLog.write
    with monkeypatch.context() as patched, pytest.raises(InterruptedRunError):
        interrupted_after(2, patched)
        patched.setattr(shard_log.ShardLog, "write", look)
        pool.score("mtld")
    running = [row for document in seen for row in document["score_sets"]]
    assert [(row["state"], row["n_done"], row["n_left"]) for row in running] == [
        ("running", 3, 9), ("running", 6, 6),
    ]  # fmt: skip
    assert running[0]["seconds_left"] > 0  # from its part, which is not committed yet
    [row] = watched(pool.store)["score_sets"]
    assert (row["alias"], row["state"], row["n_done"], row["n_left"]) == (
        "mtld",
        "interrupted",
        6,
        6,
    )
    assert row["seconds_left"] == pytest.approx(6 / row["examples_per_s"], rel=0.1, abs=0.1)
    pool.score("mtld")
    assert watched(pool.store)["score_sets"] == []


def passes():
    """A pass of a model and one of text alone, as far as is asked here."""
    model = type("Scorer", (), {"reads_weights": True})()
    return [
        Pass((PassMember("aa", "likelihood", model),), object(), "float32", 8),
        Pass((PassMember("bb", "mtld", model),), None, "float32", 8),
    ]


def test_the_first_shard_of_each_pass_with_a_model_is_traced_and_a_killed_one_is_a_retry(tmp_path):
    tasks = [
        ShardTask(index, shard, tmp_path, 1, {f"{index}": tmp_path / f"{index}-{shard}.parquet"})
        for index in (0, 1)
        for shard in ("s0", "s1")
    ]
    (tmp_path / "0-s1.started").touch()  # as a run leaves it that died there
    prepared = with_retries(tasks, passes(), str(tmp_path / "traces"))
    assert [task.n_retries for task in prepared] == [0, 1, 0, 0]
    trace = tmp_path / "traces" / "pass-1-likelihood.json"
    assert [task.trace for task in prepared] == [trace, None, None, None]
    assert [task.trace for task in with_retries(tasks, passes(), None)] == [None] * 4


def test_a_trace_names_the_operations(tmp_path):
    import torch

    path = tmp_path / "traces" / "trace.json"
    with traced(path, "cpu"):
        torch.ones(4, 4) @ torch.ones(4, 4)
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    assert "aten::matmul" in {event.get("name") for event in events}
    assert [each.name for each in path.parent.iterdir()] == ["trace.json"]


def test_a_trace_on_a_gpu_has_its_kernels_too(tmp_path, monkeypatch):
    from torch import profiler

    asked = []

    class Profile:
        def __init__(self, activities):
            asked.extend(activity.name for activity in activities)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            asked.append("stopped")

        def export_chrome_trace(self, path):
            Path(path).write_text(f"{asked}", encoding="utf-8")

    monkeypatch.setattr(profiler, "profile", Profile)
    with traced(tmp_path / "trace.json", "cuda:1"):
        assert asked == ["CPU", "CUDA"]
    assert (tmp_path / "trace.json").read_text(encoding="utf-8") == "['CPU', 'CUDA', 'stopped']"


def test_padding_is_a_share_of_what_ran():
    run = ShardRun.of({"pass_tokens": 60, "padding_tokens": 20, "tokens": 40}, 2.0, 0, "cpu")
    assert (run.tokens, run.padding, run.tokens_per_s) == (60, 0.25, 30.0)
    assert ShardRun.of({"tokens": 40}, 2.0, 0, "cpu").padding is None


def test_a_slice_logs_its_shards_before_they_are_committed(pool):
    from curate.scoring.slices import Slice

    request = make_request(pool.store, "mtld", "mtld", {}, None, ScoringOptions())
    job.score_slice(pool.store, [request], ScoringOptions(), SilentProgress(), Slice(1, 2))
    assert len(lines(pool)) == N_SHARDS // 2
    [row] = watched(pool.store)["score_sets"]
    assert (row["n_done"], row["n_left"]) == (6, 6)  # written parts count


def test_what_a_killed_run_left_goes_when_its_sets_are_complete(pool):
    pool.score("mtld", "text_stats")
    [first, second] = pool.store.score_sets()
    folder = pool.store.find_score_set(second.set_id).folder
    shard = pool.store.shards()[0].shard_id
    marks = [folder / f"{shard}.started", folder / "of-no-part.started"]
    for mark in marks:
        mark.touch()
    facts = {"began_at": 1.0, "n_workers": 1, "worker": "elsewhere-1"}
    running = pool.store.parts / "running"
    for name, set_ids in {"both": (first.set_id, second.set_id), "other": ("0" * 16,)}.items():
        n_examples = dict.fromkeys(set_ids, 12)
        (running / f"{name}.json").write_text(json.dumps({**facts, "n_examples": n_examples}))
    pool.score("text_stats")  # only one of the two: the other may lack something
    assert [run.worker for run in RunRecord.all_in(pool.store.parts)] == ["elsewhere-1"] * 2
    assert [mark.exists() for mark in marks] == [False, True]
    pool.score("mtld", "text_stats")
    assert [path.name for path in running.iterdir()] == ["other.json"]


def test_a_set_of_a_selection_is_complete_with_its_examples(pool, monkeypatch):
    pool.select("random", budget=8, seed=1, name="eight")
    with monkeypatch.context() as patched, pytest.raises(InterruptedRunError):
        interrupted_after(2, patched)
        pool.score("mtld", within="eight")
    [row] = watched(pool.store)["score_sets"]
    assert (row["state"], row["n_done"] + row["n_left"]) == ("interrupted", 8)
    assert 2 <= row["n_done"] <= 6  # two of four shards with three examples each
    pool.score("mtld", within="eight")
    assert watched(pool.store)["score_sets"] == []
    pool.ingest([{"prompt": "One", "response": "more."}], source="more")
    assert watched(pool.store)["score_sets"] == []


def test_the_record_of_a_run_takes_the_workers_that_it_has_got(tmp_path):
    with recorded(tmp_path, {"aa": 7}, 0) as hired:
        for n_workers in (1, 128, 2, 0):
            hired(n_workers)
            [run] = RunRecord.all_in(tmp_path)
            assert (run.n_workers, run.is_alive) == (n_workers, True)


def test_what_fails_in_a_run_is_not_said_of_its_record(tmp_path):
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "model.safetensors")
    with pytest.raises(PermissionError, match="model.safetensors"), recorded(tmp_path, {}, 1):
        raise refused


def test_a_scorer_of_the_whole_pool_is_seen_at_work(pool, monkeypatch):
    seen, run = [], pooled.run_pool_scorer

    def look(*given):
        seen.extend(watched(Store(pool.store.path, create=False))["score_sets"])
        run(*given)

    monkeypatch.setattr(pooled, "run_pool_scorer", look)
    pool.score("near_duplicate")
    [row] = seen
    assert (row["state"], row["n_done"], row["n_left"]) == ("running", 0, 3 * N_SHARDS)
    assert watched(pool.store)["score_sets"] == []
