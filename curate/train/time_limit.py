"""A limit on the time of a run: it ends as if somebody had pressed Ctrl-C, so that what is done is saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_after(hours: float | None) -> Iterator[None]:
    """Interrupt the block after some hours, as Ctrl-C would; a training run then saves a checkpoint."""
    if hours is None:
        yield
        return
    timer = threading.Timer(max(0.0, hours * 3600), os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
