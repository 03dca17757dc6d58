"""Threads of one process that open the same DuckDB file: many at once, or one alone.

DuckDB gives all connections of a process to one file the same settings, so a connection with
settings of its own (no access to other files) must be the only one while it is open.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from curate.errors import StoreError

_CHANGED: Final = threading.Condition()
_SHARED: Final[Counter[Path]] = Counter()  # open connections by file
_ALONE: Final[set[Path]] = set()
_WRITERS: Final[defaultdict[Path, threading.RLock]] = defaultdict(threading.RLock)


def writing(path: Path) -> threading.RLock:
    """Return the lock of a file's writers: one thread at a time, as one process at a time."""
    with _CHANGED:
        return _WRITERS[path]


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Take part in using a file; waits while another thread uses it alone."""
    with _CHANGED:
        _CHANGED.wait_for(lambda: path not in _ALONE)
        _SHARED[path] += 1
    try:
        yield
    finally:
        with _CHANGED:
            _SHARED[path] -= 1
            _CHANGED.notify_all()


@contextmanager
def alone(path: Path, wait_s: float) -> Iterator[None]:
    """Use a file alone; `StoreError` if other threads do not release it within ``wait_s`` seconds."""
    deadline = time.monotonic() + wait_s
    with _CHANGED:
        _wait_until(deadline, lambda: path not in _ALONE, path)
        _ALONE.add(path)  # nobody comes in any more, and those inside finish
        try:
            _wait_until(deadline, lambda: not _SHARED[path], path)
        except StoreError:
            _leave(path)
            raise
    try:
        yield
    finally:
        with _CHANGED:
            _leave(path)


def _wait_until(deadline: float, holds: Callable[[], bool], path: Path) -> None:
    if not _CHANGED.wait_for(holds, max(0.0, deadline - time.monotonic())):
        raise StoreError(
            f"{path} is in use by another thread of this process and was not released in time; "
            "wait until it is done and run the query again"
        )


def _leave(path: Path) -> None:
    _ALONE.discard(path)
    _CHANGED.notify_all()
