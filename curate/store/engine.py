"""The DuckDB engine of this process: files are attached to it while they are in use, and let go.

Starting an engine takes many times as long as attaching a file, and a command opens its file tens of
times. No file is held between two uses, unless `curate.store.holds` keeps it: its lock ends when the
last one detaches it.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, final

import duckdb

from curate.store.ctrl_c import interrupted_by_ctrl_c, interrupts

_LOCK: Final = threading.Lock()  # over which engines there are and what is attached to them
_NUMBERS: Final = count(1)
_MEMORY: Final = ":memory:"
_BREAKING: Final = (duckdb.FatalException, duckdb.InternalException)  # nothing runs after these


@final
class _Engine:
    """One instance of DuckDB, its limits, and what is attached to it."""

    def __init__(self) -> None:
        self.root = duckdb.connect()
        compute_with(self.root)
        self.shows_progress = silence(self.root)
        self.users = 0
        self.sound = True
        self._limits: tuple[Path, str] | None = None
        self._attached: dict[str, tuple[str, int]] = {}  # by path: its name and its users

    def limit(self, spill: Path, memory_limit: str) -> bool:
        """Set where it spills and its memory; False where it cannot be changed any more."""
        if self._limits != (spill, memory_limit):
            try:
                limit(self.root, spill, memory_limit)
            except duckdb.Error:
                return False
            self._limits = spill, memory_limit
        return True

    @property
    def reusable(self) -> bool:
        """Whether it can be kept: nothing is left on it, neither files nor what it spilled."""
        spill = self._limits[0] if self._limits else None
        spilled = spill is not None and spill.is_dir() and any(spill.iterdir())
        return self.sound and not self._attached and not spilled

    def attach(self, path: str, options: str) -> str:
        """Return the name under which a file is attached; each call is undone by one `detach`."""
        name, users = self._attached.get(path, (f"store_{next(_NUMBERS)}", 0))
        with self._broken_by_interrupts():
            if not users:
                what = _MEMORY if path.startswith(_MEMORY) else path
                self.root.execute(f"attach {literal(what)} as {name}{options}")
            self._attached[path] = name, users + 1
        return name

    def detach(self, path: str) -> None:
        """Undo one `attach`; the last one writes what is pending and releases the file."""
        name, users = self._attached.pop(path)
        if users > 1:
            self._attached[path] = name, users - 1
            return
        try:
            with self._broken_by_interrupts():
                self.root.execute(f"detach {name}")
        except duckdb.Error:  # it is let go of with the engine, as when a process ends
            self.sound = False

    @contextmanager
    def _broken_by_interrupts(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error:
            raise
        except BaseException:  # what is attached is not known any more
            self.sound = False
            raise


_BUSY: Final[dict[tuple[Path, str], _Engine]] = {}  # by folder for spilling and limit of memory
_IDLE: Final[list[_Engine]] = []  # one at most


@contextmanager
def attached(
    path: Path | None, spill: Path, memory_limit: str, options: str = ""
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach a file for one use and connect to it; threads that use it at once share it.

    Parameters
    ----------
    path
        The DuckDB file, made where it does not exist; None for an empty database in memory.
    spill
        Folder for work larger than memory.
    memory_limit
        Of DuckDB's own buffers, in DuckDB's words: ``"1GiB"``.
    options
        SQL behind ``attach``, in parentheses.

    Raises
    ------
    duckdb.Error
        Whatever opening the file raises: held by another process, corrupt, newer.
    KeyboardInterrupt
        On Ctrl-C, also while DuckDB computes.
    """
    with interrupts():
        yield from _attached(path, (spill, memory_limit), options)


def _attached(
    path: Path | None, key: tuple[Path, str], options: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    with _attachment(path, key, options) as (engine, name):
        connection = engine.root.cursor()
        try:
            connection.execute(f"use {name}")
            if engine.shows_progress:
                silence(connection)
            with interrupted_by_ctrl_c(connection):
                yield connection
        except Exception as error:
            if isinstance(error, _BREAKING) or isinstance(error.__cause__, _BREAKING):
                engine.sound = False
            raise
        finally:
            connection.close()


@contextmanager
def kept(path: Path, spill: Path, memory_limit: str) -> Iterator[_Engine]:
    """Keep a file attached that is attached already; parameters as of `attached`."""
    with _attachment(path, (spill, memory_limit), "") as (engine, _):
        yield engine


@contextmanager
def _attachment(
    path: Path | None, key: tuple[Path, str], options: str
) -> Iterator[tuple[_Engine, str]]:
    where = f"{_MEMORY}{next(_NUMBERS)}" if path is None else str(path)
    with _LOCK:
        engine = _taken(key)
    try:
        with _LOCK:
            name = engine.attach(where, options)
        try:
            yield engine, name
        finally:
            with _LOCK:
                engine.detach(where)
    finally:
        with _LOCK:
            _give_back(key, engine)


def compute_with(connection: duckdb.DuckDBPyConnection) -> None:
    """Set how an engine computes: NaN instead of errors."""
    connection.execute("set ieee_floating_point_ops = true")


def silence(connection: duckdb.DuckDBPyConnection) -> bool:
    """Take away a connection's progress bar; return whether it had one, as in a notebook."""
    [shown] = connection.execute("select current_setting('enable_progress_bar')").fetchall()[0]
    if shown:  # in a kernel without widgets it is off already, and setting it is an error
        connection.execute("set enable_progress_bar = false")
    return bool(shown)


def limit(connection: duckdb.DuckDBPyConnection, spill: Path, memory_limit: str) -> None:
    """Set how much memory an engine takes, and where it spills what is larger."""
    connection.execute(f"set memory_limit = '{memory_limit}'")
    connection.execute(f"set temp_directory = {literal(str(spill))}")


def literal(text: str) -> str:
    """Return a text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _taken(key: tuple[Path, str]) -> _Engine:
    engine = _BUSY.get(key)
    if engine is None:
        engine = _IDLE.pop() if _IDLE else _Engine()
        if not engine.limit(*key):
            engine.root.close()
            engine = _Engine()
            engine.limit(*key)
        _BUSY[key] = engine
    engine.users += 1
    return engine


def _give_back(key: tuple[Path, str], engine: _Engine) -> None:
    engine.users -= 1
    if engine.users:
        return
    del _BUSY[key]
    if _IDLE or not engine.reusable:
        engine.root.close()
    else:
        _IDLE.append(engine)


def _end_idle() -> None:
    while _IDLE:
        _IDLE.pop().root.close()


def _before_fork() -> None:
    """End the engine at rest: its threads do not come along, and its end would wait for them."""
    _LOCK.acquire()
    _end_idle()


atexit.register(_end_idle)
os.register_at_fork(
    before=_before_fork, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
)
