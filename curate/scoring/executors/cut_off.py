"""Files that say which tasks a process is at, which holds their locks: they stay only where it was killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from curate.scoring.executors.worker import ShardTask
from curate.store import locks

STARTED: Final = ".started"


def was_cut_off(task: ShardTask) -> bool:
    """Whether an earlier run ended in the middle of this task, without an error and unasked.

    One that another process is at now is not cut off.
    """
    mark = _mark(task)
    return mark.exists() and not locks.is_held(mark)


def forget_cut_off(task: ShardTask) -> None:
    """Note that a task is finished that an earlier run ended in the middle of."""
    if was_cut_off(task):
        _mark(task).unlink(missing_ok=True)


def forget_finished(folder: Path) -> None:
    """Remove the files of a score set's shards whose parts are there: a run was killed just after."""
    for mark in folder.glob(f"*{STARTED}"):
        if mark.with_suffix(".parquet").exists():
            mark.unlink(missing_ok=True)


@contextmanager
def under_way(task: ShardTask) -> Iterator[None]:
    """Leave a file beside the task's part while it runs."""
    mark = _mark(task)
    mark.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locks.held(mark):
            yield
    finally:
        mark.unlink(missing_ok=True)


def _mark(task: ShardTask) -> Path:
    return next(iter(task.parts.values())).with_suffix(STARTED)
