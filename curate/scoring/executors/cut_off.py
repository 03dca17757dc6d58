"""Files that say which tasks a process was at: they stay only where it was killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from curate.scoring.executors.worker import ShardTask

STARTED: Final = ".started"


def was_cut_off(task: ShardTask) -> bool:
    """Whether an earlier run ended in the middle of this task, without an error and unasked."""
    return _mark(task).exists()


def forget_cut_off(task: ShardTask) -> None:
    """Note that a task is finished that an earlier run ended in the middle of."""
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
    mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def _mark(task: ShardTask) -> Path:
    return next(iter(task.parts.values())).with_suffix(STARTED)
