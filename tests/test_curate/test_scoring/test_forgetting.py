"""Examples are forgotten while a job scores them: the job goes on, and the set is complete."""

import json

import pytest

import curate as cu
from curate.contracts.progress import SilentProgress
from curate.errors import StoreError
from curate.scoring import job
from curate.scoring.executors.worker import TaskRunner
from curate.scoring.options import ScoringOptions
from curate.scoring.requests import make_request

N = 40


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    for name in ("first", "second"):
        path = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {n}", "response": f"it is {n}"} for n in range(N)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        opened.ingest(str(path), source=name)
    return opened


def during(monkeypatch, change):
    """Carry out a change between what a worker has read of its first shard and what it writes."""
    run, pending = TaskRunner.run, [change]

    def changed(self, task):
        if pending:
            pending.pop()()
        return run(self, task)

    monkeypatch.setattr(TaskRunner, "run", changed)


def score(pool):
    options = ScoringOptions()
    [request] = [make_request(pool.store, "mtld", "mtld", {}, None, options)]
    return job.score(pool.store, [request], options, SilentProgress()).sets[0].status


@pytest.mark.parametrize(("where", "left"), [("source = 'second'", N), ("source = 'first'", N)])
def test_a_shard_that_is_gone_when_its_turn_comes_is_passed_over(pool, monkeypatch, where, left):
    during(monkeypatch, lambda: pool.store.forget(where))
    status = score(pool)
    assert (status.complete, status.n_examples) == (True, left)


def test_a_shard_that_lost_examples_is_scored_as_it_is_then(pool, monkeypatch):
    during(monkeypatch, lambda: pool.store.forget("prompt like '%1%'"))
    status = score(pool)
    assert (status.complete, status.n_examples) == (True, pool.store.n_examples())
    assert 0 < status.n_examples < 2 * N


def test_a_shard_whose_file_is_lost_ends_the_job(pool, monkeypatch):
    last = pool.store.shards()[-1].path
    during(monkeypatch, last.unlink)
    with pytest.raises(StoreError, match=r"is missing, which holds the texts .*curate doctor"):
        score(pool)
