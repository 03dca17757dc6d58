"""One thread listens for Ctrl-C, for all connections of the main thread, and for no other process."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curate.store import ctrl_c
from curate.store.engine import attached

LIMIT = "24MiB"


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """Let Ctrl-C raise `KeyboardInterrupt`, which whoever started the tests may have it not do."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def watchers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "curate-ctrl-c"]


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.005)
    return holds()


def exit_code_of_fork(function: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if function() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Recorded:
    """Stands for a connection, and counts how often it is interrupted."""

    def __init__(self) -> None:
        self.n_interrupts = 0

    def interrupt(self) -> None:
        self.n_interrupts += 1


def test_one_thread_serves_connections_one_after_another_and_inside_one_another(
    tmp_path: Path,
) -> None:
    seen = set()
    for _ in range(3):
        with attached(None, tmp_path, LIMIT), attached(None, tmp_path, LIMIT):
            seen.update(watchers())
    assert len(seen) == 1
    assert watchers() == list(seen)


def test_ctrl_c_interrupts_every_open_connection_and_none_that_is_closed() -> None:
    outer, inner, closed = Recorded(), Recorded(), Recorded()
    with pytest.raises(KeyboardInterrupt), ctrl_c.interrupted_by_ctrl_c(outer):  # type: ignore[arg-type]
        with ctrl_c.interrupted_by_ctrl_c(closed):  # type: ignore[arg-type]
            pass
        with ctrl_c.interrupted_by_ctrl_c(inner):  # type: ignore[arg-type]
            signal.raise_signal(signal.SIGINT)
    assert [outer.n_interrupts, inner.n_interrupts, closed.n_interrupts] == [1, 1, 0]
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_wakes_the_main_thread_although_another_one_listens(tmp_path: Path) -> None:
    with attached(None, tmp_path, LIMIT):
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(20)
        assert time.monotonic() - began < 10


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_a_connection_is_open_keeps_its_signals_to_itself(tmp_path: Path) -> None:
    def child() -> bool:
        mine = Recorded()
        if signal.set_wakeup_fd(-1) != -1 or watchers():
            return False
        with ctrl_c.interrupted_by_ctrl_c(mine):  # type: ignore[arg-type]
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                return until(lambda: mine.n_interrupts == 1)
        return False

    theirs = Recorded()
    with ctrl_c.interrupted_by_ctrl_c(theirs):  # type: ignore[arg-type]
        assert exit_code_of_fork(child) == 0
        assert watchers()
    assert theirs.n_interrupts == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_thread_ends_before_a_fork_and_starts_again_when_it_is_needed(tmp_path: Path) -> None:
    with attached(None, tmp_path, LIMIT):
        pass
    assert watchers()
    assert exit_code_of_fork(lambda: True) == 0
    assert not watchers()
    with attached(None, tmp_path, LIMIT):
        assert watchers()
