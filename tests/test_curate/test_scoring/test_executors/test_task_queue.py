"""How the tasks of a job are shared between workers, and what becomes of a shard they share."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from curate.scoring.executors.course import Stripe
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.task_queue import TaskQueue
from curate.scoring.executors.worker import ShardTask, TaskReport


class Queue:
    """A queue of shards ``s0``, ``s1``, ..., and what comes out of it."""

    def __init__(self, folder: Path, n_shards: int, most_stripes: int = 100) -> None:
        tasks = [
            ShardTask(
                0, f"s{n}", folder / f"s{n}", 10, {"set": folder / "set" / f"s{n}.parquet"},
                most_stripes=most_stripes,
            )
            for n in range(n_shards)
        ]  # fmt: skip
        self.reports: list[TaskReport] = []
        self.said: list[str] = []
        self.queue = TaskQueue(deque(tasks), self.reports.append, Deaths(self.said.append))

    @property
    def waiting(self) -> list[str]:
        return [named(task) for task in self.queue.waiting]

    def take(self) -> ShardTask:
        return self.queue.waiting.popleft()

    def finish(self, task: ShardTask) -> None:
        self.queue.keep(TaskReport(task, 0, 0, 0.0))


def named(task: ShardTask) -> str:
    stripe = task.stripe
    return task.shard_id + ("" if stripe is None else f" {stripe.index}/{stripe.count}")


@pytest.mark.parametrize(
    ("n_shards", "n_workers", "expected"),
    [
        (1, 2, ["s0 0/2", "s0 1/2"]),
        (2, 2, ["s0", "s1"]),
        (3, 2, ["s0", "s1", "s2 0/2", "s2 1/2"]),
        (2, 5, ["s0 0/3", "s0 1/3", "s0 2/3", "s1 0/3", "s1 1/3", "s1 2/3"]),
        (2, 1, ["s0", "s1"]),
        (0, 3, []),
    ],
)
def test_the_shards_that_are_left_over_are_shared(
    tmp_path: Path, n_shards: int, n_workers: int, expected: list[str]
) -> None:
    made = Queue(tmp_path, n_shards)
    made.queue.share(n_workers)
    assert made.waiting == expected


def test_no_more_stripes_than_the_work_is_worth(tmp_path: Path) -> None:
    made = Queue(tmp_path, 1, most_stripes=3)
    made.queue.share(16)
    assert made.waiting == ["s0 0/3", "s0 1/3", "s0 2/3"]
    made = Queue(tmp_path, 1, most_stripes=1)
    made.queue.share(16)
    assert made.waiting == ["s0"]


def test_a_shard_that_an_earlier_run_died_on_is_not_shared(tmp_path: Path) -> None:
    made = Queue(tmp_path, 1)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "s0.started").touch()
    made.queue.share(2)
    assert made.waiting == ["s0"]


def test_whoever_finishes_the_last_stripe_puts_the_part_together(tmp_path: Path) -> None:
    made = Queue(tmp_path, 3)
    made.queue.share(2)
    tasks = [made.take() for _ in range(4)]
    made.finish(tasks[3])
    assert not made.waiting
    made.finish(tasks[2])
    assert made.waiting == ["s2"] and not made.reports
    made.finish(made.take())
    assert [report.task.shard_id for report in made.reports] == ["s2"]


def test_a_stripe_that_kills_makes_the_shard_whole_and_others_of_it_change_nothing(
    tmp_path: Path,
) -> None:
    made = Queue(tmp_path, 1)
    made.queue.share(4)
    first, second, third = (made.take() for _ in range(3))
    assert made.queue.died(first, "SIGKILL", "check memory")
    assert made.waiting == ["s0"] and made.queue.waiting[0].n_retries == 1
    assert made.queue.died(second, "SIGKILL", "check memory")  # at the same time
    made.finish(third)
    assert made.waiting == ["s0"]
    whole = made.take()
    assert made.queue.died(whole, "SIGKILL", "check memory")
    assert [task.portion.only for task in made.queue.waiting] == [frozenset()]
    assert "shard s0 killed 2 workers (SIGKILL)" in made.said[0]


def test_a_stripe_of_a_lost_machine_is_run_again(tmp_path: Path) -> None:
    made = Queue(tmp_path, 1)
    made.queue.share(2)
    lost = made.take()
    made.queue.again([lost])
    again = made.take()
    assert again == replace(lost, n_retries=1) and again.stripe == Stripe(0, 2)
    made.finish(again)
    made.finish(made.take())
    assert made.waiting == ["s0"]


def test_after_an_error_no_part_is_put_together(tmp_path: Path) -> None:
    made = Queue(tmp_path, 1)
    made.queue.share(2)
    tasks = [made.take(), made.take()]
    made.queue.stop(ValueError("x"))
    for task in tasks:
        made.finish(task)
    assert not made.waiting
