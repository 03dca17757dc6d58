"""Commands in a process of their own: they outlive who started them, and are found again."""

import json
import os
import subprocess
import sys
import time

import pytest
from reported import colour_rows, write_rows

import curate as cu
from curate.api.jobs.job import start
from curate.api.pool import Pool
from curate.contracts.progress import DedupedNotes, SilentProgress
from curate.errors import ConfigError, DataError, WorkerError

WAIT_S = 200
START = """
import os, sys
import curate as cu

job = cu.open(sys.argv[1], create=False).start("score", scorer="likelihood", model=sys.argv[2])
print(job.id, flush=True)
os.kill(os.getpid(), 9)
"""
HOLD = """
import sys, time
from curate.store import Store

with Store(sys.argv[1], create=False).write():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "curate.duckdb"
    cu.open(path, create=True).ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    return path


@pytest.mark.slow
def test_a_job_survives_the_process_that_started_it(store, roomy_model):
    done = subprocess.run(
        [sys.executable, "-c", START, str(store), str(roomy_model)],
        capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    pool = cu.open(store, create=False)
    [job] = pool.jobs()
    assert job.id == done.stdout.strip()
    assert job.wait(WAIT_S) == "done"
    assert job.record["exit_code"] == 0
    assert os.getsid(0) != job.record["pid"]
    assert "likelihood.mean_logp" in pool.scores().columns
    [scored] = job.result()["score_sets"]
    assert scored["n_scored"] == 12
    assert pool.job(job.id[:17]).status() == "done"
    assert f"--model {roomy_model}" in repr(job)


@pytest.mark.slow
def test_a_job_that_fails_says_why_and_where_its_log_is(store):
    job = cu.open(store).start("score", scorer="likelihood", model="nowhere")
    with pytest.raises(
        WorkerError, match=r"failed with exit code 2: .*nowhere.*its log is .*\.log"
    ):
        job.wait(WAIT_S)
    assert job.status() == "failed"
    with pytest.raises(DataError, match="is failed and has no result"):
        job.result()


@pytest.fixture
def waiting(store):
    """A job that waits for the store, which another process holds."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    job = start(store, store.with_suffix(".parts"), "status", {})
    deadline = time.monotonic() + WAIT_S
    while "pid" not in job.record:
        assert time.monotonic() < deadline and job.status() == "running"
        time.sleep(0.1)
    yield job
    job.cancel(force=True)
    holder.kill()
    holder.communicate()


@pytest.mark.slow
def test_a_running_job_can_be_looked_at_and_ended(waiting):
    assert waiting.status() == waiting.wait(0.1) == "running"
    assert "running" in waiting._repr_html_() and "running" in repr(waiting)
    with pytest.raises(DataError, match="is running and has no result"):
        waiting.result()
    assert waiting.cancel(force=True) == "died"
    with pytest.raises(WorkerError, match="died: its process was killed"):
        waiting.wait()
    assert waiting.cancel() == "died"


@pytest.mark.slow
def test_a_cancelled_job_stops_as_by_ctrl_c(waiting):
    time.sleep(1.5)  # past the imports, into the wait for the store
    assert waiting.cancel() == "interrupted"
    assert waiting.record["exit_code"] == 130


@pytest.mark.slow
def test_the_log_is_passed_on_while_waiting(store, tmp_path):
    heard = DedupedNotes(SilentProgress())
    rows = [
        {**row, "id": f"more {row['id']}", "prompt": f"More {row['prompt']}"}
        for row in colour_rows()
    ]
    more = write_rows(tmp_path / "more.jsonl", rows)
    job = Pool(store, progress=heard).start("ingest", data=str(more))
    assert job.wait(WAIT_S) == "done"
    assert any("detected format" in line for line in heard.said)
    assert len(cu.open(store)) == 24
    assert json.loads(json.dumps(job.result()))


def test_an_unknown_job_is_named_with_those_that_are_there(store):
    pool = cu.open(store)
    assert pool.jobs() == []
    with pytest.raises(ConfigError, match="'x' is not a job of this store; the newest are: none"):
        pool.job("x")


@pytest.mark.slow
def test_a_notebook_does_not_hold_the_store(pool_with_everything):
    """Charts, rows and cards are alive in this process, and another one writes meanwhile."""
    pool, alive = pool_with_everything
    code = (
        "import sys, curate as cu; pool = cu.open(sys.argv[1], create=False); "
        "print(len(pool.select('random', budget=3)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(pool.store.path)],
        capture_output=True, text=True, check=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.stdout == "3\n"
    assert len(pool.status()["selections"]) == 2
    assert all(one is not None for one in alive)


@pytest.fixture
def pool_with_everything(store):
    pool = cu.open(store)
    chosen = pool.select("random", budget=4)
    rows = pool.examples(where="n_chars > 0", by="n_chars")
    alive = [pool, chosen, rows, pool.plot.histogram("n_chars", chosen), rows.to_polars()]
    for one in alive[:4]:
        one._repr_html_()
    return pool, alive
