"""One shard, several workers: the same bytes as by one, whatever becomes of them on the way."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from copied import copied
from poisoned import KILLS, POISON, Poisoned

import curate as cu
from curate.contracts.progress import SilentProgress
from curate.errors import InterruptedRunError
from curate.registry import register
from curate.scoring import run_shards, workload
from curate.scoring.executors import course, local
from curate.scoring.executors.worker import TaskProgress
from curate.scoring.watching import kept_of_shards, watched

N = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one-shard")
    pool = cu.open(folder / "curate.duckdb", create=True)
    responses = [POISON if n == 7 else "two " * (1 + n % 6) for n in range(N)]
    pool.ingest([{"prompt": f"poem {n}", "response": r} for n, r in enumerate(responses)])
    assert len(pool.store.shards()) == 1
    return folder


@dataclass
class Counted(SilentProgress):
    """How many examples a scoring run finds done, and how many it adds."""

    found: int = 0
    advanced: int = 0

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        self.found += done

    def advance(self, stage: str, amount: int) -> None:
        self.advanced += amount


@pytest.fixture
def pool(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cu.Pool:
    """A pool whose shard is worth any number of workers, and whose batches are kept at once."""
    monkeypatch.setattr(workload, "WORTH_A_WORKER_S", 1e-6)
    monkeypatch.setattr(course, "KEEP_S", 0.0)
    monkeypatch.setattr(course, "TELL_S", 0.0)
    opened: cu.Pool = copied(made, tmp_path / "copy")
    return opened


def hashes(report: Any) -> dict[str, str]:
    return {made.status.alias: made.status.content_hash for made in report.sets}


def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that takes the process id of each worker."""
    pids: list[int] = []
    assign = local._Team._assign

    def noting(team: Any, worker: Any) -> None:
        pids.append(worker.process.pid)
        assign(team, worker)

    monkeypatch.setattr(local._Team, "_assign", noting)
    return pids


def told(monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None]) -> None:
    """Call a function with the number of times that a shard under way was heard of."""
    tell = run_shards._Reached.tell
    n_heard = 0

    def hearing(self: Any, at: TaskProgress) -> None:
        nonlocal n_heard
        tell(self, at)
        n_heard += 1
        then(n_heard)

    monkeypatch.setattr(run_shards._Reached, "tell", hearing)


@pytest.mark.slow
def test_two_workers_share_a_shard_and_one_of_them_is_killed(
    pool: cu.Pool, made: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = copied(made, tmp_path / "alone")
    settings = {"model": str(tiny_model), "batch_tokens": 40}
    expected = hashes(alone.score("likelihood", "donod", workers=1, **settings))
    pids = started(monkeypatch)

    def kill_one(n_heard: int) -> None:
        if n_heard == 1:
            os.kill(pids[0], signal.SIGKILL)

    told(monkeypatch, kill_one)
    report = pool.score("likelihood", "donod", workers=2, **settings)
    assert hashes(report) == expected
    assert len(set(pids)) == 3  # two, and one in place of the killed
    assert not list((pool.store.parts / "cache").rglob("*.parquet"))


@pytest.mark.slow
@pytest.mark.usefixtures("unregistered")
def test_an_example_that_kills_is_found_in_a_shard_that_workers_share(
    pool: cu.Pool, made: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(Poisoned)
    settings = {"model": str(tiny_model), "batch_tokens": 40, "max_failures": 1}
    monkeypatch.setenv(KILLS, "")
    expected = hashes(copied(made, tmp_path / "alone").score("poisoned", workers=1, **settings))
    monkeypatch.setenv(KILLS, "1")
    report = pool.score("poisoned", workers=2, **settings)
    assert report.sets[0].failures == {"kills_worker": 1}
    assert hashes(report) == expected


def test_a_run_that_is_stopped_within_a_shard_says_how_far_it_is_and_goes_on(
    pool: cu.Pool, made: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"model": str(tiny_model), "batch_tokens": 40, "workers": 1}
    expected = hashes(copied(made, tmp_path / "alone").score("likelihood", **settings))

    def interrupt(n_heard: int) -> None:
        if n_heard == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        told(patched, interrupt)
        with pytest.raises(InterruptedRunError) as stopped:
            pool.score("likelihood", **settings)
    [row] = watched(pool.store)["score_sets"]
    assert str(stopped.value) == (
        f"interrupted: 0 of 1 shards are saved, and about {row['n_done']} examples of others; rerun "
        "the same command to resume"
    )
    assert row["state"] == "interrupted" and 0 < row["n_done"] < N
    assert row["n_left"] == N - row["n_done"]
    assert kept_of_shards(pool.store) == {row["set_id"]: row["n_done"]}
    pool.progress = shown = Counted()
    assert hashes(pool.score("likelihood", **settings)) == expected
    assert shown.found == row["n_done"] and shown.found + shown.advanced == N
    assert kept_of_shards(pool.store) == {}


@pytest.mark.usefixtures("pool")
def test_what_is_kept_counts_by_its_work_as_what_is_done_does(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [200] * 8 + [1] * 40
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest([{"prompt": f"poem {n}", "response": "two " * m} for n, m in enumerate(lengths)])
    settings = {"model": str(tiny_model), "batch_tokens": 250, "workers": 1}

    def interrupt(n_heard: int) -> None:
        if n_heard == 3:
            raise KeyboardInterrupt

    pool.progress = before = Counted()
    with monkeypatch.context() as patched:
        told(patched, interrupt)
        with pytest.raises(InterruptedRunError):
            pool.score("likelihood", **settings)
    pool.progress = after = Counted()
    pool.score("likelihood", **settings)
    assert before.advanced > 10
    assert abs(after.found - before.advanced) <= 1
    assert after.found + after.advanced == len(lengths)


def test_the_hours_are_over_within_a_shard_too(
    pool: cu.Pool, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    told(monkeypatch, heard.append)
    with pytest.raises(InterruptedRunError, match="stopped after 1e-09 h"):
        pool.score("likelihood", model=str(tiny_model), batch_tokens=40, workers=1, max_hours=1e-9)
    assert len(heard) == 1  # after the first batch


def test_what_a_pass_of_other_scorers_has_kept_is_not_shown_as_done(
    pool: cu.Pool, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"model": str(tiny_model), "batch_tokens": 40, "workers": 1, "template": "plain"}

    def interrupt(n_heard: int) -> None:
        if n_heard == 10:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        told(patched, interrupt)
        with pytest.raises(InterruptedRunError):
            pool.score("likelihood", "donod", **settings)
    pool.progress = shown = Counted()
    pool.score("likelihood", **settings)
    assert (shown.found, shown.advanced) == (0, N)


def test_what_is_kept_of_forgotten_or_old_shards_is_collected(pool: cu.Pool) -> None:
    kept = pool.store.parts / "cache" / "unfinished"
    [shard] = pool.store.shards()
    for name in ("gone-00000", shard.shard_id):
        (kept / name / "x").mkdir(parents=True)
        (kept / name / "x" / "y.parquet").write_bytes(b"")
    pool.store.gc()
    assert [path.name for path in kept.iterdir()] == [shard.shard_id]
    os.utime(kept / shard.shard_id, (1, 1))
    pool.store.gc()
    assert [path.name for path in kept.iterdir()] == [shard.shard_id]  # it began long ago
    for folder in (kept / shard.shard_id / "x", kept / shard.shard_id):
        os.utime(folder, (1, 1))
    pool.store.gc()
    assert not list(kept.iterdir())
