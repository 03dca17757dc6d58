"""The tasks that no worker has taken yet, and what reports, deaths and errors make of them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from curate.errors import WorkerError
from curate.scoring.executors.course import Stripe
from curate.scoring.executors.cut_off import forget_cut_off, was_cut_off
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.worker import ShardTask, TaskReport


@final
@dataclass
class TaskQueue:
    """What is left of a job, the same for every engine.

    Where there are fewer shards than workers, or some are left over after all have had the same number,
    workers share these: each runs a stripe of the shard's batches, and whoever is last puts its part
    together. A shard one of whose stripes kills a worker is run whole from there on.

    Parameters
    ----------
    waiting
        Tasks to hand out, the next one first.
    on_report
        Takes each report of a finished task.
    deaths
        The shards that have killed workers.
    error
        What the job ends with once the tasks under way are finished; no more are handed out then.
    """

    waiting: deque[ShardTask]
    on_report: Callable[[TaskReport], None]
    deaths: Deaths
    error: Exception | None = None
    _stripes: dict[tuple[int, str], set[int]] = field(default_factory=dict, init=False)

    def share(self, n_workers: int) -> None:
        """Cut the last shards into stripes, so that all of some workers are busy to the end."""
        n_last = len(self.waiting) % n_workers
        last = [self.waiting.pop() for _ in range(n_last)]
        for task in reversed(last):
            n = min(task.most_stripes, -(-n_workers // n_last))
            if n < 2 or was_cut_off(task):
                self.waiting.append(task)
                continue
            self._stripes[task.key] = set(range(n))
            self.waiting += [replace(task, stripe=Stripe(index, n)) for index in range(n)]

    def keep(self, report: TaskReport) -> None:
        """Hand a report on, or that of a stripe or trial to where it belongs."""
        if report.task.stripe is not None:
            self._keep_stripe(report.task, report.task.stripe)
        elif not report.task.is_trial:
            forget_cut_off(report.task)
            self.on_report(report)
        elif self.error is None:
            self._go_on(lambda: self.deaths.tried(report))

    def _keep_stripe(self, task: ShardTask, stripe: Stripe) -> None:
        """Have the part put together once the last stripe of a shard is finished."""
        left = self._stripes.get(task.key, set())
        left.discard(stripe.index)
        if task.key in self._stripes and not left and self.error is None:
            del self._stripes[task.key]
            self.waiting.appendleft(_whole(task))

    def died(self, task: ShardTask, cause: str, advice: str) -> bool:
        """Note that a worker died of a task alone; return whether another is worth its start."""
        if task.stripe is not None:
            if self._stripes.pop(task.key, None) is None:
                return True  # it is run whole already, after the death of another stripe
            others = [other for other in self.waiting if other.key != task.key]
            self.waiting.clear()
            self.waiting += others
            task = _whole(task)
        return self._go_on(lambda: self.deaths.died(task, cause, advice))

    def again(self, tasks: Sequence[ShardTask]) -> None:
        """Put tasks before the others whose worker ended through no fault that is known of one of them."""
        self.waiting.extendleft(replace(t, n_retries=t.n_retries + 1) for t in reversed(tasks))

    def stop(self, error: Exception) -> None:
        """Hand out no more tasks, and end with the first error."""
        self.waiting.clear()
        self.error = self.error or error

    def _go_on(self, next_task: Callable[[], ShardTask]) -> bool:
        """Put what deaths or trials call for before the other tasks, unless it is the end."""
        try:
            self.waiting.appendleft(next_task())
        except WorkerError as error:
            self.stop(error)
            return False
        return True


def _whole(task: ShardTask) -> ShardTask:
    return replace(task, stripe=None, most_stripes=1)
