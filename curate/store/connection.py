"""Connections to the DuckDB file, short-lived or held: waits for a lock; one error per known cause."""

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from curate.errors import StoreError
from curate.store import ctrl_c, engine, gate, holds
from curate.store.parts import full_disk, full_disk_as_error, owner, put_in_place, sync

literal: Final = engine.literal

STORAGE_VERSION: Final = "v1.4.0"  # read by duckdb 1.4 to 2.x
MEMORY_LIMIT: Final = "1GiB"  # of DuckDB's own buffers; larger work spills to the cache folder

_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5
_LOCKED: Final = "Could not set lock on file"
_UNREAD: Final = "Unique file handle conflict"  # a result that is read still holds the file
_MISSING: Final = re.compile(
    r"""(?:No files found that match the pattern|Cannot open file) "([^"]+\.parquet)\""""
)
_NO_SPILL: Final = "max_temp_directory_size"
_DAMAGED: Final = (
    "not a valid DuckDB", "orrupt", "hecksum", "Serialization Error", "deserializ", "magic bytes",
    "could not read enough bytes", "Could not read enough bytes", "INTERNAL Error",
)  # fmt: skip
_HOLDER: Final = re.compile(r"held in (.*?)\s*\(PID (\d+)\)")
_MADE: Final[dict[tuple[str, ...], bytes]] = {}  # files, by the statements that made them


@contextmanager
def connect(path: Path, spill: Path, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the DuckDB file, waiting for another process to release it, and close it afterwards.

    Parameters
    ----------
    path
        The DuckDB file; it must exist.
    spill
        Folder for work larger than memory.
    wait_s
        Seconds to wait while another process holds the file.

    Raises
    ------
    StoreError
        Held by another process (names its pid), corrupt, newer, read-only, missing or disk full.
    """
    with (
        gate.shared(path),
        _attached(path, spill, wait_s) as connection,
        duckdb_errors(path),
        full_disk_as_error(path),
    ):
        yield connection


@contextmanager
def connect_to_read(
    path: Path,
    parts: Path,
    spill: Path,
    wait_s: float,
    prepare: Callable[[duckdb.DuckDBPyConnection], None],
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the DuckDB file for SQL that somebody typed: it can change nothing and see nothing else.

    A read-only transaction, in which only files below ``parts`` can be read, and no variable of
    Python; ``prepare`` is called before that. Other threads of this process wait meanwhile. Raises
    as `connect`.
    """
    inside = ", ".join(dict.fromkeys(literal(f"{p}/") for p in (parts, parts.resolve())))
    with gate.alone(path, wait_s):
        holds.let_go(path)
        connection = _opened(path, wait_s, lambda: _alone(path))
        try:
            with (
                ctrl_c.interrupts(),
                ctrl_c.interrupted_by_ctrl_c(connection),
                duckdb_errors(path),
                full_disk_as_error(path),
            ):
                engine.silence(connection)
                engine.compute_with(connection)
                engine.limit(connection, spill, MEMORY_LIMIT)
                prepare(connection)
                connection.execute("set python_enable_replacements = false")
                connection.execute(f"set allowed_directories = [{inside}]")
                connection.execute("set enable_external_access = false")
                connection.execute("set lock_configuration = true")
                connection.execute("begin transaction read only")
                yield connection
        finally:
            connection.close()


@contextmanager
def connect_to_memory(spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect to an empty database in memory, with the settings of the store's own."""
    with engine.attached(None, spill, MEMORY_LIMIT) as connection, duckdb_errors(spill):
        yield connection


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run a block in one transaction: all of it is stored, or nothing."""
    connection.execute("begin transaction")
    try:
        yield
    except BaseException:
        _rollback(connection)
        raise
    connection.execute("commit")


def create_file(path: Path, tables: tuple[str, ...], facts: tuple[str, ...]) -> None:
    """Create a DuckDB file as `build_file` does.

    The file appears whole or not at all; if another process created it first, theirs stays.
    """
    with duckdb_errors(path), full_disk_as_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp-{owner()}")
        temporary.unlink(missing_ok=True)
        try:
            build_file(temporary, tables, facts)
            sync(temporary)
            try:
                put_in_place(temporary, path, once=True)
            except FileExistsError:
                return
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def build_file(path: Path, tables: tuple[str, ...], facts: tuple[str, ...]) -> None:
    """Write a new DuckDB file with the fixed storage version in place, both runs of statements in it.

    ``tables`` are the same for every file. What they make is kept in memory, 0.8 MB: a process that
    makes many files copies it, in a fifth of the time.
    """
    made = _MADE.get(tables)
    if made is None:
        _run_in(path, tables, f" (storage_version '{STORAGE_VERSION}')")
        _MADE[tables] = path.read_bytes()
    else:
        path.write_bytes(made)
    _run_in(path, facts)


def _run_in(path: Path, statements: tuple[str, ...], options: str = "") -> None:
    spill = path.with_name(f"{path.name}.spill")
    with engine.attached(path, spill, MEMORY_LIMIT, options) as connection, transaction(connection):
        for statement in statements:
            connection.execute(statement)


def identifier(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def arrow_reader(relation: duckdb.DuckDBPyRelation, rows: int) -> Iterator[pa.RecordBatchReader]:
    """Read a result as a stream of batches of at most ``rows``, under any DuckDB version.

    It is closed at the end: one not read to its end would hold the store's file.
    """
    stream = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    reader: pa.RecordBatchReader = stream(rows)
    try:
        yield reader
    finally:
        reader.close()


def is_read_only(path: Path) -> bool:
    """Whether a DuckDB file can be read, but neither it nor its folder be written."""
    return os.access(path, os.R_OK) and not (
        os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    )


def cannot_write(path: Path) -> StoreError:
    """Return the error of whatever would change a store that is read-only here."""
    return StoreError(
        f"cannot write {path}: it is read-only here; make the file and its folder writable "
        "for this user, or copy the store (the file and its .parts folder) to a writable folder"
    )


@contextmanager
def _attached(path: Path, spill: Path, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
    with ExitStack() as stack:
        stack.callback(holds.let_go_if_broken, path)  # once the connection has ended

        def attach() -> duckdb.DuckDBPyConnection:
            options = " (read_only)" if is_read_only(path) else ""
            return stack.enter_context(engine.attached(path, spill, MEMORY_LIMIT, options))

        connection = _opened(path, wait_s, attach)
        holds.keep(path, lambda: engine.kept(path, spill, MEMORY_LIMIT))
        yield connection


def _alone(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a file in an engine of its own, whose settings are nobody else's."""
    if is_read_only(path):
        return duckdb.connect(str(path), read_only=True)
    return duckdb.connect(str(path))


def _opened(
    path: Path, wait_s: float, open_: Callable[[], duckdb.DuckDBPyConnection]
) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_s
    pause = _FIRST_WAIT_S
    while True:
        if not path.exists():
            raise StoreError(
                f"there is no store at {path}; create one with: "
                f"curate ingest DATA --store {path}, or rebuild it from its parts with: "
                f"curate doctor --rebuild --store {path}"
            )
        try:
            return open_()
        except duckdb.Error as error:
            if _LOCKED not in str(error) and _UNREAD not in str(error):
                raise _explained(error, path) from error
            if time.monotonic() + pause > deadline:
                raise _held(error, path, wait_s) from error
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_WAIT_S)


@contextmanager
def duckdb_errors(path: Path) -> Iterator[None]:
    """Turn what DuckDB says about a file that is damaged or missing into one `StoreError`."""
    try:
        yield
    except (duckdb.IOException, duckdb.FatalException, duckdb.SerializationException) as error:
        raise _explained(error, path) from error
    except duckdb.OutOfMemoryException as error:
        raise _out_of_memory(error, path) from error
    except duckdb.Error as error:
        if _no_space(str(error), path) is None and "Corrupt database" not in str(error):
            raise
        raise _explained(error, path) from error


def _held(error: duckdb.Error, path: Path, wait_s: float) -> StoreError:
    if _UNREAD in str(error):
        return StoreError(
            f"{path} is held by a result of this process that was not read to its end; "
            "close it and try again"
        )
    match = _HOLDER.search(str(error))
    holder = f"process {match[2]} ({match[1].strip()})" if match else "another process"
    kill = f"end it (kill {match[2]})" if match else "end that process"
    held = StoreError(
        f"{path} is held by {holder} and was not released within {wait_s:g} s; "
        f"wait until it is done, or {kill}, and run the same command again"
    )
    held.is_held = True
    return held


def _explained(error: duckdb.Error, path: Path) -> StoreError:
    text = str(error)
    full = _no_space(text, path)
    if full is not None:
        return full
    if "we can only read version" in text or "newer version of DuckDB" in text:
        return StoreError(
            f"{path} was written by a newer version of duckdb (this is duckdb "
            f"{duckdb.__version__}); update it with: pip install --upgrade duckdb"
        )
    if "Permission denied" in text or "Read-only file system" in text:
        return cannot_write(path)
    if _LOCKED in text:
        return _held(error, path, 0)
    missing = _MISSING.search(text)
    if missing and missing[1] != str(path):
        return StoreError(
            f"{missing[1]} is missing, which holds a part of the store; restore it from a backup; "
            f"what else is missing: curate doctor --store {path}"
        )
    if path.is_dir():
        return StoreError(f"{path} is a folder, not a store; give the path of a .duckdb file")
    first_line = text.splitlines()[0] if text else type(error).__name__
    if not any(words in text for words in _DAMAGED):
        return StoreError(
            f"DuckDB could not read or write {path}: {first_line}; run the same command again, and if "
            f"it fails again, look at the store: curate doctor --store {path}"
        )
    return StoreError(
        f"{path} is corrupt or not a store ({first_line}); "
        f"rebuild it from the parts beside it with: curate doctor --rebuild --store {path}"
    )


def _no_space(text: str, path: Path) -> StoreError | None:
    words = os.strerror(errno.ENOSPC) if _NO_SPILL in text else text
    return full_disk(words, path)


def _out_of_memory(error: duckdb.Error, path: Path) -> StoreError:
    first_line = str(error).splitlines()[0]
    full = _no_space(first_line, path)
    if full is not None:
        return full
    return StoreError(
        f"a query of {path} needs more memory than DuckDB may take ({MEMORY_LIMIT}) and room to spill on "
        f"its disk ({first_line}); free some space there, or ask for fewer columns or examples"
    )


def _rollback(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("rollback")
    except duckdb.Error:  # the transaction is already gone: DuckDB ended it itself
        return
