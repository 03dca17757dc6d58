"""Who hears of a job's tasks, whatever engine runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from curate.scoring.executors.worker import TaskProgress, TaskReport


def _unheard(_n_workers: int) -> None:
    """Keep no count."""


@final
@dataclass(frozen=True, slots=True)
class Listener:
    """What an engine calls, all in the process that started the job.

    Parameters
    ----------
    on_report
        Takes the report of each finished task.
    on_progress
        Takes how far a task under way is, every second or so.
    on_idle
        Called at least every half second, or after each batch; what it raises ends the job.
    say
        Takes a line for the user.
    on_workers
        Takes how many workers there are, from an engine that may have other than one a device.
    """

    on_report: Callable[[TaskReport], None]
    on_progress: Callable[[TaskProgress], None]
    on_idle: Callable[[], None]
    say: Callable[[str], None]
    on_workers: Callable[[int], None] = _unheard
