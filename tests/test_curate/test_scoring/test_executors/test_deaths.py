"""Which examples kill their workers is found out of any deaths; what is not their fault ends the job."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from curate.errors import WorkerError
from curate.scoring.executors.deaths import MAX_FOUND, Deaths, Search
from curate.scoring.executors.worker import WHOLE, Portion, ShardTask, TaskReport

IDS = tuple(f"{n:03}" for n in range(200))
TASK = ShardTask(0, "s2", Path("s2"), len(IDS), {"set": Path("set/s2.parquet")})


@dataclass
class Engine:
    """Runs a task and what its deaths call for, as an executor does, without processes."""

    kills: Callable[[Portion], bool]
    said: list[str] = field(default_factory=list)
    ran: list[Portion] = field(default_factory=list)

    def run(self) -> Portion:
        deaths, task = Deaths(self.said.append), TASK
        while True:
            self.ran.append(task.portion)
            if self.kills(task.portion):
                task = deaths.died(task, "SIGSEGV", "check memory")
            elif task.is_trial:
                ids = () if task.portion.only else IDS
                task = deaths.tried(TaskReport(task, 0, 0, 0.0, ids=ids))
            else:
                return task.portion


def poisoned(*found: str) -> Callable[[Portion], bool]:
    """Return what kills a worker: a run of any of these examples."""

    def kills(portion: Portion) -> bool:
        ran = set(IDS) if portion.only is None else portion.only
        return bool(set(found) & ran - portion.omitted)

    return kills


def searched(ids: tuple[str, ...], kills: Callable[[set[str]], bool]) -> tuple[list[str], int, int]:
    """Return what a search finds, the trials it took, and the deaths."""
    search, n_trials, n_deaths = Search(ids, 2), 0, 0
    while (tried := search.next()) is not None:
        assert len(tried) > 0
        n_trials += 1
        if kills(set(tried)):
            n_deaths += 1
            search.died()
        else:
            search.lived()
    return search.found, n_trials, n_deaths


@pytest.mark.parametrize("n", [1, 2, 3, 7, 200])
@pytest.mark.parametrize("n_poisoned", [1, 2, 5])
def test_all_examples_that_kill_by_themselves_are_found(n: int, n_poisoned: int) -> None:
    rng = random.Random(n * 10 + n_poisoned)
    for _ in range(20):
        poison = set(rng.sample(IDS[:n], min(n_poisoned, n)))
        found, n_trials, n_deaths = searched(IDS[:n], lambda ids, p=poison: bool(p & ids))
        assert set(found) == poison and len(found) == len(poison)
        depth = math.ceil(math.log2(n)) if n > 1 else 0
        assert n_trials <= len(poison) * (2 * depth + 2)
        assert n_deaths <= len(poison) * (depth + 2)


def test_a_death_by_accident_convicts_nobody() -> None:
    for accident in range(30):
        count = iter(range(1000))
        found, _, _ = searched(
            IDS,
            lambda ids, at=accident, c=count: next(c) == at or "077" in ids,
        )
        assert found in (["077"], [])  # the second where it alone was to show that it does again
    assert searched(IDS, lambda ids: len(ids) == 200)[0] == []


def test_a_shard_is_run_again_as_planned_without_what_kills_its_workers() -> None:
    engine = Engine(poisoned("003", "150"))
    assert engine.run() == Portion(omitted=frozenset({"003", "150"}))
    assert engine.ran[:3] == [WHOLE, WHOLE, Portion(only=frozenset())]
    assert engine.said == [
        "shard s2 killed 2 workers (SIGSEGV); parts of it are tried, to find the example that does",
        (
            "shard s2: examples 003, 150 kill its worker (SIGSEGV); recorded as failed (kills_worker), and "
            "the shard is run again without them"
        ),
    ]


def test_an_example_that_kills_while_it_is_rendered_is_not_rendered_again() -> None:
    def kills(portion: Portion) -> bool:
        return poisoned("003")(portion) or ("003" in portion.omitted and portion.renders_omitted)

    assert Engine(kills).run() == Portion(omitted=frozenset({"003"}), renders_omitted=False)


@pytest.mark.parametrize(
    ("kills", "message"),
    [
        (lambda p: p.only is None,
         ("2 workers died on shard s2 (SIGSEGV), and none on a part of it; finished shards are kept; "
         "check memory")),
        (lambda p: True, "2 workers died on shard s2 (SIGSEGV); finished shards are kept; check memory"),
        (poisoned(*IDS[:150]),
         (f"2 workers died on shard s2 (SIGSEGV), and of more than {MAX_FOUND} of its examples alone; "
         "finished shards are kept; check memory")),
        (lambda p: p.only is None or "003" in p.only,
         ("2 workers died on shard s2 (SIGSEGV) also without the 1 example found to do so; finished "
         "shards are kept; check memory")),
    ],
    ids=["memory for the whole", "loading", "everything kills", "something else as well"],
)  # fmt: skip
def test_what_is_no_fault_of_an_example_ends_the_job(
    kills: Callable[[Portion], bool], message: str
) -> None:
    with pytest.raises(WorkerError) as caught:
        Engine(kills).run()
    assert str(caught.value) == message


def test_one_death_is_an_accident() -> None:
    count = iter(range(1000))
    engine = Engine(lambda _: next(count) == 0)
    assert (engine.run(), engine.said) == (WHOLE, [])


def test_a_shard_that_is_gone_is_reported_as_such() -> None:
    deaths = Deaths(print)
    deaths.died(TASK, "SIGSEGV", "")
    trial = deaths.died(TASK, "SIGSEGV", "")
    assert deaths.tried(TaskReport(trial, 0, 0, 0.0, is_gone=True)) == TASK
