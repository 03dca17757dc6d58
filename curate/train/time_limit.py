"""A limit on the time of a run: it ends as if somebody had pressed Ctrl-C, so that what is done is saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_after(hours: float | None) -> Iterator[None]:
    """Interrupt the block after some hours, as Ctrl-C would; a training run then saves a checkpoint.

    Also where Ctrl-C is ignored, which stays so until then.
    """
    if hours is None:
        yield
        return
    over = threading.Event()

    def end() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(max(0.0, hours * 3600), end)
    timer.daemon = True
    with _heard_once(over):
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def _heard_once(over: threading.Event) -> Iterator[None]:
    """Let SIGINT interrupt once an event is set, where it is ignored, as shells do for a script's background."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if over.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
