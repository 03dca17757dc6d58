"""Another process holds the store while a job scores: nothing is lost, and it is committed later."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import curate as cu
from curate.api.pool import Pool
from curate.contracts.progress import SilentProgress
from curate.errors import InterruptedRunError, StoreError
from curate.scoring import job
from curate.scoring.executors.worker import ShardTask, TaskReport, TaskRunner
from curate.scoring.options import ScoringOptions
from curate.scoring.outcome import ScoredSet
from curate.scoring.requests import make_request

HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Two datasets of three examples, hence two shards."""
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    for name in ("first", "second"):
        path = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {n}", "response": f"it is {n}"} for n in range(3)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        opened.ingest(str(path))
    return opened


class Holder:
    """Another process that has the file of a store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(self.path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert self.process.stdout is not None
            self.process.stdout.readline()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.communicate(b"\n")


@pytest.fixture
def holder(pool: Pool) -> Iterator[Holder]:
    made = Holder(pool.store.path)
    yield made
    made.stop()


class Notes(SilentProgress):
    """Remembers what was said, and does something when it is said that the file is held."""

    def __init__(self, when_held: Callable[[], None] = lambda: None) -> None:
        self.said: list[str] = []
        self.when_held = when_held

    def note(self, text: str) -> None:
        if "is held by" in text:
            self.said.append(text)
            self.when_held()


def score(pool: Pool, notes: Notes) -> ScoredSet:
    options = ScoringOptions()
    request = make_request(pool.store, "mtld", "mtld", {}, None, options)
    assert request is not None
    return job.score(pool.store, [request], options, notes).sets[0]


def during(
    monkeypatch: pytest.MonkeyPatch, holder: Holder, stop: BaseException | None = None
) -> None:
    """Start a holder when the first shard runs, and raise ``stop`` when the second would."""
    run, n_run = TaskRunner.run, count()
    monkeypatch.setattr(job, "COMMIT_INTERVAL_S", 0.0)

    def held(self: TaskRunner, task: ShardTask) -> TaskReport:
        holder.start()
        if next(n_run) and stop is not None:
            raise stop
        return run(self, task)

    monkeypatch.setattr(TaskRunner, "run", held)


def test_what_is_finished_is_committed_once_the_store_is_released(
    pool: Pool, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    during(monkeypatch, holder)
    notes = Notes(when_held=holder.stop)
    made = score(pool, notes)
    assert (made.status.complete, made.n_scored) == (True, 6)
    [said] = notes.said
    assert holder.process is not None
    assert said.startswith(f"{pool.store.path} is held by process {holder.process.pid} (")
    assert said.endswith(
        "); scoring goes on, and what is finished is committed once it is released"
    )


@pytest.mark.parametrize(
    ("stop", "error", "kept"),
    [
        (None, StoreError, "everything is scored and kept"),
        (KeyboardInterrupt(), InterruptedRunError, "interrupted: every finished shard is kept"),
    ],
)
def test_a_store_held_to_the_end_loses_nothing(
    pool: Pool, holder: Holder, monkeypatch: pytest.MonkeyPatch,
    stop: BaseException | None, error: type[Exception], kept: str,
) -> None:  # fmt: skip
    during(monkeypatch, holder, stop)
    with pool.store.waiting(0.1), pytest.raises(error) as caught:
        score(pool, Notes())
    holder.stop()
    assert holder.process is not None
    said, pid = str(caught.value), holder.process.pid
    assert said.startswith(f"{kept} in {pool.store.parts}")
    assert f"{pool.store.path} is held by process {pid} (" in said
    assert f"or end it (kill {pid}), and run the same command again" in said
    monkeypatch.undo()
    made = score(pool, Notes())
    assert (made.status.complete, made.n_scored) == (True, 0 if stop is None else 3)
