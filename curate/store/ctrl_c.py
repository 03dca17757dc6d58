"""Ctrl-C while DuckDB computes: one thread interrupts the connections of the main thread.

Python runs its own handler only once DuckDB has returned, which can take minutes. The system writes
the number of each signal into a pipe at once, and the thread reads it there. It is started once and
ends with the process, or when the process forks while no connection is open.
"""

import atexit
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, final

import duckdb

_INTERRUPTED: Final = "Query interrupted"
_AT_ONCE: Final = 64  # numbers of signals read together


@contextmanager
def interrupts() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for a Ctrl-C during a query, which DuckDB turns into another error."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if str(error) != _INTERRUPTED:
            raise
        raise KeyboardInterrupt from error


@contextmanager
def interrupted_by_ctrl_c(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt what a connection computes for the main thread on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _LOCK:
        watcher = _running()
        previous = watcher.enter(connection)
    try:
        yield
    finally:
        watcher.leave(connection, previous)


@final
class _Watcher:
    """The pipe into which signals are written, and the thread that reads it."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._previous = -1  # who listened for signals before, a file descriptor
        self._connections: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.RLock()  # a handler of signals may open a store, too
        self._thread = threading.Thread(target=self._watch, name="curate-ctrl-c", daemon=True)
        self._thread.start()

    def enter(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Watch for a connection; return who listened for signals before."""
        previous = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if previous != self._writer:
            self._previous = previous
        self._connections.append(connection)
        return previous

    def leave(self, connection: duckdb.DuckDBPyConnection, previous: int) -> None:
        """Pass on every signal that has come, and let those listen again who did before."""
        if self._owner != os.getpid():  # left by a fork of the process that entered
            return
        signal.set_wakeup_fd(previous, warn_on_full_buffer=False)
        with self._lock:
            self._hear()
            self._connections.remove(connection)

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open."""
        return not self._connections

    def stop(self) -> None:
        """End the thread; no connection is open."""
        os.close(self._writer)  # which ends what it reads
        self._thread.join()
        os.close(self._reader)

    def abandon(self) -> None:
        """Leave the pipe to the process that this one was forked from, whose thread reads it."""
        listening = signal.set_wakeup_fd(-1)
        if listening != self._writer:
            signal.set_wakeup_fd(listening, warn_on_full_buffer=False)
        elif self._previous >= 0:
            signal.set_wakeup_fd(self._previous, warn_on_full_buffer=False)
        os.close(self._writer)
        os.close(self._reader)

    def _watch(self) -> None:
        # A signal must wake the main thread out of what it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        ready = select.poll()
        ready.register(self._reader, select.POLLIN)
        open_ = True
        while open_:
            ready.poll()
            with self._lock:
                open_ = self._hear()

    def _hear(self) -> bool:
        """Interrupt for each Ctrl-C that has come, pass on every signal; False once it is closed."""
        try:
            numbers = os.read(self._reader, _AT_ONCE)
        except BlockingIOError:  # the other thread has read it
            return True
        if self._previous >= 0 and numbers:
            with suppress(OSError):
                os.write(self._previous, numbers)
        handler = signal.getsignal(signal.SIGINT)  # another one does not want an exception
        if signal.SIGINT in numbers and handler is signal.default_int_handler:
            for connection in self._connections:
                with suppress(duckdb.ConnectionException):  # it was closed meanwhile
                    connection.interrupt()
        return bool(numbers)


_LOCK: Final = threading.RLock()  # over which watcher there is
_watcher: _Watcher | None = None


def _running() -> _Watcher:
    global _watcher
    if _watcher is None:
        _watcher = _Watcher()
    return _watcher


def _stop_if_idle() -> None:
    global _watcher
    with _LOCK:
        if _watcher is not None and _watcher.is_idle:
            _watcher.stop()
            _watcher = None


def _before_fork() -> None:
    """End the thread where it has nothing to do: it does not come along."""
    _LOCK.acquire()
    _stop_if_idle()


def _in_child() -> None:
    global _watcher
    if _watcher is not None:
        _watcher.abandon()
        _watcher = None
    _LOCK.release()


atexit.register(_stop_if_idle)
os.register_at_fork(before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_in_child)
