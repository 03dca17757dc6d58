"""The tasks that no worker has taken yet, and what reports, deaths and errors make of them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from curate.errors import WorkerError
from curate.scoring.executors.cut_off import forget_cut_off
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.worker import ShardTask, TaskReport


@final
@dataclass
class TaskQueue:
    """What is left of a job, the same for every engine.

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

    def keep(self, report: TaskReport) -> None:
        """Hand a report on, or that of a trial to the search it belongs to."""
        if not report.task.is_trial:
            forget_cut_off(report.task)
            self.on_report(report)
        elif self.error is None:
            self._go_on(lambda: self.deaths.tried(report))

    def died(self, task: ShardTask, cause: str, advice: str) -> bool:
        """Note that a worker died of a task alone; return whether another is worth its start."""
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
