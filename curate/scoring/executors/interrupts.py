"""What Ctrl-C, SIGTERM, SIGHUP and a script's main module mean while worker processes start and run."""

import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Defer what a terminal sends to all briefly; processes started meanwhile never receive it, we do."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM (a scheduler's preemption) and SIGHUP (a closed terminal) like Ctrl-C.

    Whoever has a signal ignored, as under nohup, goes on ignoring it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, interrupt))
        yield


@contextmanager
def without_main(needs_main: bool = False) -> Iterator[None]:
    """Start processes that do not run the user's script again, as they would to import its names.

    A script without ``if __name__ == "__main__"`` would start the work a second time in each.
    """
    if needs_main:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
