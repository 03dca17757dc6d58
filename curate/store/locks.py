"""Who works on something, told by locks that the system drops when a process ends, however it ends.

A process id says nothing in another container, nor after a restart in one; a lock does.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from curate.errors import StoreError

_UNSUPPORTED: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold the lock of a file; False where another process, or another block of this one, has it.

    The file is made where it is missing and removed afterwards, also where there are no locks. What it
    holds does not matter.

    Raises
    ------
    StoreError
        The file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquired(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)  # before the lock goes: nobody else can have taken it
            os.close(descriptor)


def require(path: Path) -> None:
    """Raise `StoreError` unless the file system of a path, where no file is yet, has locks.

    Both kinds are tried, ours and that of DuckDB, on a file that is removed at once. A full disk
    leaves it open.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return
    try:
        for lock in (fcntl.flock, fcntl.lockf):
            _lock(descriptor, path, lock=lock)
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Make a file and hold its lock, so that `is_held` is true wherever it is asked.

    The file is there once it is locked, in place of an earlier one. On a file system without locks it is
    made all the same.
    """
    unseen = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            with suppress(StoreError):
                _lock(descriptor, path)
            os.replace(unseen, path)
        finally:
            unseen.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock of a file; False where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, path, fcntl.LOCK_SH)
    except StoreError:
        return False
    finally:
        os.close(descriptor)


def _acquired(path: Path) -> int | None:
    """Return a descriptor of the file that lies at the path, locked; None where it is taken."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_locked = _lock(descriptor, path)
        except StoreError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if not is_locked:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its owner removed it between the opening and the lock


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(
    descriptor: int,
    path: Path,
    kind: int = fcntl.LOCK_EX,
    lock: Callable[[int, int], None] | None = None,
) -> bool:
    try:
        (lock or fcntl.flock)(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        raise StoreError(
            f"the file system of {path.parent} has no locks ({error.strerror}), which keep two "
            "processes from doing the same work; put the store on one that has, with --store"
        ) from error
    return True
