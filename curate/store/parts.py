"""Files of the store, written so that a reader sees the whole file or nothing. No database here."""

import errno
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, StoreError
from curate.store import locks
from curate.store.sealed import unsealed, write_sealed

METADATA_KEY: Final = b"curate"
RUN: Final = "run"  # in a part's metadata: how its shard went through the pass
TMP_MARK: Final = ".tmp-"
WRITTEN: Final[Mapping[str, Any]] = {"compression": "zstd", "write_page_checksum": True}
CHECKED: Final[Mapping[str, Any]] = {"page_checksum_verification": True}
UNFINISHED: Final = "cache/unfinished"  # what is scored of shards before their parts are written
LOCK: Final = "lock"  # in a temporary folder: the file that its owner holds locked
# In the system's words, which libraries repeat in errors of their own.
_FULL: Final = {number: os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)}
FOREIGN_TMP_S: Final = 86_400
_OWNER: Final = re.compile(r"(?P<host>[^-]*)-(?P<pid>[0-9]+)([-.].*)?")  # what follows `TMP_MARK`
_WITHOUT_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

ARROW_TYPES: Final[Mapping[str, pa.DataType]] = {
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "floats": pa.list_(pa.float32()),
    "ints": pa.list_(pa.int32()),
    "vector": pa.list_(pa.float32()),
}
"""Type of a part's column by the dtype its scorer declares."""

DTYPE_KEY: Final = b"dtype"  # field metadata: tells a vector from a list of floats


def part_schema(outputs: Mapping[str, str]) -> pa.Schema:
    """Return the schema of a part: ``id``, one column per output, ``failure``.

    ``outputs`` maps column names to dtypes of `curate.contracts.Column`.
    """
    fields = [
        pa.field(name, ARROW_TYPES[dtype], metadata={DTYPE_KEY: dtype.encode()})
        for name, dtype in outputs.items()
    ]
    return pa.schema([pa.field("id", pa.string()), *fields, pa.field("failure", pa.string())])


def column_dtypes(part: pa.Schema) -> dict[str, str]:
    """Return the scorer dtype of each output column of a part.

    A part written with `curate.store.parts.part_schema` says so itself; elsewhere a list of
    32-bit floats named ``vector`` is a vector, and any other is a list of floats.
    """
    return {column.name: _dtype(column) for column in part if column.name not in ("id", "failure")}


def _dtype(column: pa.Field) -> str:
    declared = (column.metadata or {}).get(DTYPE_KEY)
    if declared is not None:
        return str(declared.decode())
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_integer(kind.value_type):
            return "ints"
        return "vector" if column.name == "vector" else "floats"
    if pa.types.is_floating(kind):
        return "float"
    if pa.types.is_integer(kind):
        return "int"
    return "bool" if pa.types.is_boolean(kind) else "text"


@contextmanager
def full_disk_as_error(path: Path) -> Iterator[None]:
    """Turn "no space left", "too large" and "read-only" into one clear `StoreError` that names the folder.

    Libraries wrap the system's error in one of their own, as safetensors and DuckDB do.
    """
    try:
        yield
    except OSError as error:
        translated = _disk_error(error, path)
        if translated is None:
            raise
        raise translated from error
    except CurateError:
        raise
    except Exception as error:
        full = full_disk(str(error), path.parent)
        if full is None:
            raise
        raise full from error


def write_part(path: Path, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write one scored shard; the file appears whole, under its final name, or not at all.

    Parameters
    ----------
    path
        ``ScoreSet.part(shard_id)``.
    table
        Columns as in `part_schema`, one row per example of the shard.
    metadata
        Facts of the run: tokens, wall_s, device, n_oom_split.
    """
    with atomic_path(path) as temporary:
        write_sealed(temporary, _with_metadata(table, metadata), WRITTEN)


def write_part_once(path: Path, table: pa.Table, metadata: Mapping[str, Any]) -> bool:
    """Write a part as `write_part` does, unless there is one; return whether this one was written.

    Of processes that score the same shard the first one's part stays: the rows are the same, and its
    bytes may have been recorded.
    """
    try:
        with atomic_path(path, once=True) as temporary:
            write_sealed(temporary, _with_metadata(table, metadata), WRITTEN)
    except FileExistsError:
        if not path.exists():
            raise
        return False
    return True


def _with_metadata(table: pa.Table, metadata: Mapping[str, Any]) -> pa.Table:
    schema_metadata = dict(table.schema.metadata or {})
    schema_metadata[METADATA_KEY] = json.dumps(dict(metadata), sort_keys=True).encode()
    return table.replace_schema_metadata(schema_metadata)


def read_part(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read a part and the metadata it was written with."""
    table = read_parquet(path)
    return table, part_metadata(table.schema)


def part_metadata(schema: pa.Schema) -> dict[str, Any]:
    """Return the metadata `write_part` stored; empty for a file without."""
    stored = (schema.metadata or {}).get(METADATA_KEY, b"{}")
    return dict(json.loads(stored))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet (zstd), atomically and durably."""
    with atomic_path(path) as temporary:
        pq.write_table(unsealed(table), temporary, **WRITTEN)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file of the store; `StoreError` where it is missing or damaged."""
    with open_parquet(path) as file:
        return file.read(None if columns is None else list(columns))


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file of the store to read it piece by piece, the checksum of every page verified.

    Raises `StoreError` where it is missing or damaged, at once or while it is read.
    """
    try:
        with pq.ParquetFile(path, **CHECKED) as file:
            yield file
    except FileNotFoundError as error:
        raise StoreError(
            f"{path} is missing; {how_to_mend(path)}; what else is missing: curate doctor"
        ) from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's: a full disk, no permission
        raise StoreError(
            f"{path} is damaged ({error}); {how_to_mend(path)}; what else is damaged: curate doctor --deep"
        ) from error


def how_to_mend(path: Path) -> str:
    """Return what to do about a file of the store that is missing or damaged: scores come again."""
    if "scores" not in (path.parent.name, path.parent.parent.name):
        return "restore it from a backup of the store"
    return (
        "restore it from a backup of the store, or have it computed again: curate doctor --rebuild, then "
        "the same curate score command"
    )


def present(file: pq.ParquetFile, names: Sequence[str]) -> list[str]:
    """Return those of some columns that a file has; parts written earlier may lack newer ones."""
    return [name for name in names if name in file.schema_arrow.names]


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON, atomically and durably."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "surrogatepass"))


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))


@contextmanager
def atomic_path(path: Path, *, once: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it into place.

    ``once``: raise `FileExistsError` where another process was first, whose file stays.
    """
    with full_disk_as_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}{TMP_MARK}{owner()}")
        try:
            with locks.held(temporary):
                yield temporary
                sync(temporary)
                put_in_place(temporary, path, once=once)
                sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path, *, once: bool) -> None:
    """Give a whole file its name; ``once``: raise `FileExistsError` where another has it, which stays."""
    if once:
        try:
            os.link(temporary, path)
            return
        except OSError as error:
            if error.errno not in _WITHOUT_LINKS:
                raise
        if path.exists():  # without links two processes may both pass here: the last one's stays
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    os.replace(temporary, path)


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below and including ``folder`` to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync(Path(root, name))
        sync(Path(root))


def owner() -> str:
    """Return ``host-pid``, the end of the name of every temporary file of this process."""
    host = "".join(c if c.isalnum() else "_" for c in platform.node())
    return f"{host}-{os.getpid()}"


def owner_is_dead(path: Path) -> bool:
    """Return whether the process that made a temporary file or folder has died.

    A lock that is held says that it lives, and a lock of a folder that nobody holds that it died.
    Without one the name decides; what another machine made counts as abandoned if it was not
    touched for a day.
    """
    lock = path / LOCK if path.is_dir() else path
    if not lock.exists():  # asked first: one that appears later is held when it does
        return False if lock == path else _named_dead(path)
    if locks.is_held(lock):
        return False
    return lock != path or _named_dead(path)


def _named_dead(path: Path) -> bool:
    made_by = _OWNER.fullmatch(path.name.partition(TMP_MARK)[2])
    if made_by is None or made_by["host"] != owner().rpartition("-")[0]:
        try:
            return time.time() - path.stat().st_mtime > FOREIGN_TMP_S
        except FileNotFoundError:  # it has its final name by now
            return False
    try:
        os.kill(int(made_by["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def files_below(folder: Path, ending: str = "") -> Iterator[Path]:
    """Yield the files below a folder; what goes meanwhile, as when a shard is finished, is left out."""
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names if name.endswith(ending))


def untouched_s(folder: Path) -> float:
    """Return the seconds since anything was last put into a folder or one below, or taken out.

    0 for one that is gone.
    """
    touched = 0.0
    for root, _, _ in os.walk(folder):
        with suppress(FileNotFoundError):
            touched = max(touched, Path(root).stat().st_mtime)
    return time.time() - touched if touched else 0.0


def remove_stale_temporaries(folder: Path, of: str = "") -> int:
    """Delete what dead processes left half written directly in ``folder``; return how many.

    Parameters
    ----------
    of
        Name of the file or folder that they were writing, or that of one beside it
        (``NAME.manifest.json``); by default any.
    """
    removed = 0
    for path in _temporaries(folder, f".{of}." if of else "."):
        with suppress(FileNotFoundError, PermissionError):  # gone meanwhile, or another user's
            if owner_is_dead(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


def _temporaries(folder: Path, start: str) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.startswith(start) and TMP_MARK in e.name]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names)]


def full_disk(text: str, place: Path) -> StoreError | None:
    """Return the error of a place that takes no more, told by the system's words; None for other words."""
    number = next((number for number, words in _FULL.items() if words in text), None)
    if number is None:
        return None
    if number == errno.EFBIG:
        return StoreError(
            f"a file would be larger than the disk of {place} or this user's limit allows; no finished work "
            "was lost; raise the limit (ulimit -f), or write to another disk, and run the same command again"
        )
    quota = " for this user (the quota is used up)" if number == errno.EDQUOT else ""
    return StoreError(
        f"no space left on the disk of {place}{quota}; no finished work was lost; "
        "free some space and run the same command again"
    )


def _disk_error(error: OSError, path: Path) -> StoreError | None:
    full = full_disk(_FULL.get(error.errno or 0, str(error)), path.parent)
    if full is not None:
        return full
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreError(
            f"cannot write {path}: it is read-only here; make its folder writable for this user, "
            "or copy the store to a writable folder"
        )
    return None
