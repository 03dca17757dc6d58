"""Scoring survives Ctrl-C and kill -9: the same command ends with the hashes of an unbroken run."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from built import built_once
from forked import Forked, forked_curate

# a dozen processes, whose workers import torch
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SCORERS = "likelihood,embedding"
N_ROWS, N_SHARDS = 1500, 6


def command(store: Path, model: Path, workers: int) -> list[str]:
    return [
        "score", "--scorer", SCORERS, "--template", "plain", "-m", str(model), "--json",
        "--workers", str(workers), "--store", str(store), "--quiet",
    ]  # fmt: skip


def start(store: Path, model: Path, workers: int) -> Forked:
    return forked_curate(command(store, model, workers), store.parent)


def wait_for_parts(job: Forked, store: Path, n_parts: int) -> None:
    """Return as soon as this many parts are written; fail if the job ends before."""
    folder = store.with_name("curate.parts") / "scores"
    deadline = time.monotonic() + 200
    while len(list(folder.glob("*/*-0*.parquet"))) < n_parts:
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def hashes(document: Any) -> dict[str, str]:
    return {one["alias"]: one["content_hash"] for one in document["score_sets"]}


def finish(store: Path, model: Path, workers: int) -> Any:
    job = start(store, model, workers)
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    return json.loads(out)


def ingest_rows(folder: Path) -> None:
    from curate.data.read.ingest import ingest
    from curate.store import Store

    rows = ({"prompt": f"What is {n // 3}?", "response": f"It is {n}."} for n in range(N_ROWS))
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = Store(folder / "curate.duckdb")
    ingest(store, str(folder / "pool.jsonl"))
    assert len(store.shards()) == N_SHARDS


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 1,500 short examples in several shards, nothing scored; to be copied."""
    return built_once(tmp_path_factory, "ingested", ingest_rows) / "curate.duckdb"


@pytest.fixture(scope="module")
def unbroken(
    ingested: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The hashes of a run nobody disturbs."""

    def score(folder: Path) -> None:
        document = finish(copied(ingested, folder), tiny_model, 1)
        (folder / "hashes.json").write_text(json.dumps(hashes(document)))

    folder = built_once(tmp_path_factory, "unbroken", score)
    found: dict[str, str] = json.loads((folder / "hashes.json").read_text())
    return found


def copied(store: Path, folder: Path) -> Path:
    shutil.copytree(store.parent, folder, dirs_exist_ok=True)
    return folder / "curate.duckdb"


@pytest.fixture
def store(ingested: Path, tmp_path: Path) -> Path:
    return copied(ingested, tmp_path)


def a_worker(job: Forked) -> psutil.Process:
    """One of a job's worker processes: they are forked from a process that the job starts."""
    return next(one for child in psutil.Process(job.pid).children() for one in child.children())


def test_killed_three_times_with_other_workers_after_each(
    store: Path, tiny_model: Path, unbroken: dict[str, str]
) -> None:
    for workers, n_parts in ((1, 1), (2, 3), (1, 5)):
        job = start(store, tiny_model, workers)
        wait_for_parts(job, store, n_parts)
        os.kill(job.pid, signal.SIGKILL)
        assert job.communicate(timeout=60)[0] == ""
        assert job.returncode == -signal.SIGKILL
    document = finish(store, tiny_model, 2)
    assert hashes(document) == unbroken
    for one in document["score_sets"]:
        assert one["n_scored"] + one["n_reused"] == N_ROWS
        assert one["n_reused"] >= 2 * (N_ROWS - 5 * 256)
    assert not list(store.with_name("curate.parts").rglob(".*.tmp-*"))


def test_a_worker_that_is_killed_is_replaced(
    store: Path, tiny_model: Path, unbroken: dict[str, str]
) -> None:
    job = start(store, tiny_model, 2)
    wait_for_parts(job, store, 2)
    a_worker(job).kill()
    out, err = job.communicate(timeout=250)
    assert job.returncode == 0, err
    assert hashes(json.loads(out)) == unbroken


@pytest.mark.parametrize(
    ("workers", "send"), [(1, os.kill), (2, os.killpg)], ids=["one worker", "two workers"]
)
def test_an_interrupt_says_what_is_saved_and_the_rerun_continues(
    store: Path,
    tiny_model: Path,
    unbroken: dict[str, str],
    workers: int,
    send: Callable[[int, int], None],
) -> None:
    job = start(store, tiny_model, workers)
    wait_for_parts(job, store, 2)
    send(job.pid, signal.SIGINT)  # a terminal sends it to the workers as well
    out, err = job.communicate(timeout=200)
    assert job.returncode == 130, err
    assert json.loads(out)["error"]["type"] == "InterruptedRunError"
    said = re.fullmatch(
        rf"InterruptedRunError: interrupted: (\d+) of {2 * N_SHARDS} shards are saved"
        r"(, and about [\d,]+ examples of others)?; rerun the same command to resume\n",
        err,
    )
    assert said, err
    n_saved = int(said[1])
    assert 2 <= n_saved < 2 * N_SHARDS
    document = finish(store, tiny_model, 1)
    assert hashes(document) == unbroken
    assert sum(one["n_reused"] for one in document["score_sets"]) >= n_saved * (N_ROWS - 5 * 256)


def test_an_interrupt_while_workers_start_ends_them_without_a_traceback(
    store: Path, tiny_model: Path
) -> None:
    job = start(store, tiny_model, 2)
    deadline = time.monotonic() + 200
    while "forkserver" not in " ".join(
        word for one in psutil.Process(job.pid).children() for word in one.cmdline()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.2)  # what the workers are forked from is importing now
    os.killpg(job.pid, signal.SIGINT)
    out, err = job.communicate(timeout=200)
    assert job.returncode == 130, err
    assert json.loads(out)["error"]["type"] == "InterruptedRunError"
    assert err == (
        f"InterruptedRunError: interrupted: 0 of {2 * N_SHARDS} shards are saved; "
        "rerun the same command to resume\n"
    )
