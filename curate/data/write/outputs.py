"""Files written whole or not at all: the containers of an export, hashed as they are written."""

import csv
import errno
import gzip
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError, StoreError
from curate.store import locks
from curate.store.parts import LOCK, TMP_MARK, owner, remove_stale_temporaries, sync

SHARD_BYTES: Final = 256 << 20
SPLITS: Final = ("train", "validation")
_BESIDE: Final = (
    "README.md", "manifest.json", "dataset_info.json", "axolotl.yaml", "train_trl.py",
    "revisions.jsonl",
)  # fmt: skip


@final
class HashedFile(io.RawIOBase):
    """A file open for writing that knows its size and SHA-256."""

    def __init__(self, path: Path, digest: Any) -> None:
        super().__init__()
        self._file = path.open("wb")
        self._digest = digest
        self.n_bytes = 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self.n_bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """Return the bytes written."""
        return self.n_bytes

    def close(self) -> None:
        """Flush to the disk and close."""
        if not self.closed:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                try:
                    self._file.close()
                finally:  # it flushes once more, and may fail: a second call must not
                    super().close()


@final
@dataclass(slots=True)
class Written:
    """What was written so far: bytes, and their SHA-256 over all files in order."""

    n_bytes: int = 0
    digest: Any = field(default_factory=sha256)


Write = Callable[[pa.Table], None]


@contextmanager
def whole_or_nothing(output: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``output`` at the end, if no error occurs.

    It lies in a folder beside ``output`` that is made for it, and may hold what is needed meanwhile.
    What a killed process left of the same output is removed.

    Raises `StoreError` when the disk is full and `DataError` for any other reason the system gives;
    ``output`` is then unchanged.
    """
    work = output.parent / f".{output.name}{TMP_MARK}{owner()}"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(output.parent, output.name)
        _remove(work)  # of a process that had this one's number, as the first one in a container
        with ExitStack() as stack:
            stack.callback(_remove, work)
            work.mkdir()
            stack.enter_context(locks.held(work / LOCK))
            yield work / "whole"
            if output.is_dir():
                os.replace(output, work / "replaced")
            os.replace(work / "whole", output)
            sync(output.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left to write {output}; nothing was written: free some space on "
                "that disk, or choose another with -o"
            ) from error
        reason = os.strerror(error.errno) if error.errno else error
        if isinstance(error, FileExistsError):
            reason = f"{error.filename} is not a folder"
        raise DataError(f"cannot write {output}: {reason}; choose another place with -o") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_folder(output: Path) -> None:
    """Raise `DataError` if a folder holds anything but an earlier export."""
    for child in sorted(output.iterdir()) if output.is_dir() else ():
        if child.is_dir() and child.name in SPLITS:
            foreign = [entry for entry in sorted(child.iterdir()) if not _is_shard(entry)]
        else:
            ours = child.name in _BESIDE or child.name.endswith(".manifest.json")
            foreign = [] if ours or _is_shard(child) else [child]
        if foreign:
            raise DataError(
                f"folder {output} holds {str(foreign[0].relative_to(output))!r}, which is not an "
                "export; choose an empty or new folder with -o"
            )


def _is_shard(path: Path) -> bool:
    return path.is_file() and path.name.startswith("part-") and path.suffix == ".parquet"


@contextmanager
def open_output(path: Path, compression: str, written: Written) -> Iterator[Any]:
    """Open one file for writing, compressed if asked; the same rows give the same bytes."""
    with ExitStack() as stack:
        plain = stack.enter_context(HashedFile(path, written.digest))
        if compression == "gz":
            yield stack.enter_context(gzip.GzipFile("", "wb", fileobj=plain, mtime=0))
        elif compression == "zst":
            sink = pa.PythonFile(plain, mode="w")
            yield stack.enter_context(pa.CompressedOutputStream(sink, "zstd"))
        else:
            yield plain
    written.n_bytes += plain.n_bytes


def write_lines(tables: Iterator[pa.Table], file: Any) -> None:
    r"""Write a ``record`` column, each value and a ``\n``."""
    for table in tables:
        records = table["record"].to_pylist()
        file.write(b"\n".join(records) + b"\n" if records else b"")


def write_json_array(tables: Iterator[pa.Table], file: Any) -> None:
    """Write a ``record`` column of JSON texts as one array, an element a line."""
    between = b"[\n"
    for table in tables:
        for record in table["record"].to_pylist():
            file.write(between + record)
            between = b",\n"
    file.write(b"[]\n" if between == b"[\n" else b"\n]\n")


def write_csv(tables: Iterator[pa.Table], file: Any, names: Sequence[str]) -> None:
    """Write a ``record`` column of JSON objects as CSV; `DataError` for a nested value."""
    file.write(csv_line(names))
    for table in tables:
        lines = []
        for record in table["record"].to_pylist():
            row = json.loads(record)
            lines.append(csv_line([_csv_value(name, row.get(name)) for name in names]))
        file.write(b"".join(lines))


def csv_line(values: Sequence[Any], delimiter: str = ",", end: str = "\n") -> bytes:
    """Return one CSV record as bytes."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(values)  # quotes \r too
    return (text.getvalue().removesuffix("\r\n") + end).encode()


def _csv_value(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        raise DataError(
            f"column {name!r} holds lists or objects, which CSV cannot hold; write .jsonl or .parquet"
        )
    return json.dumps(value)


def table_of(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a ``record`` column of JSON objects as a table of the given schema."""
    rows = [json.loads(record) for record in table["record"].to_pylist()]
    arrays = [arrow_column(rows, f.name, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def arrow_column(
    rows: Sequence[Mapping[str, Any]], name: str, type_: pa.DataType | None = None
) -> pa.Array:
    """Return one key of many JSON objects as an Arrow array; `DataError` where types are mixed."""
    try:
        return pa.array([row.get(name) for row in rows], type_)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise DataError(
            f"column {name!r} cannot be an Arrow column ({error}); write .jsonl"
        ) from None


def write_parquet(tables: Iterator[pa.Table], file: Any, schema: pa.Schema) -> None:
    """Write tables as one Parquet file, zstd inside."""
    with _parquet_writer(file, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _parquet_writer(file: Any, schema: pa.Schema) -> pq.ParquetWriter:
    # compliant types would rename the items of lists, and the schema would not come back the same
    return pq.ParquetWriter(file, schema, compression="zstd", use_compliant_nested_type=False)


def write_arrow(tables: Iterator[pa.Table], file: Any, schema: pa.Schema) -> None:
    """Write tables as one Arrow IPC file."""
    options = pa.ipc.IpcWriteOptions(unify_dictionaries=True)
    with pa.ipc.new_file(file, schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)


@final
class RowStream:
    """Tables as one stream of rows, returned in pieces.

    Parameters
    ----------
    tables
        The rows, in order.
    """

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self._next: pa.Table | None = None

    def is_empty(self) -> bool:
        """Whether no row is left."""
        while self._next is None or len(self._next) == 0:
            self._next = next(self._tables, None)
            if self._next is None:
                return True
        return False

    def take(self, n_rows: int | None) -> Iterator[pa.Table]:
        """Yield the next ``n`` rows, or all that remain."""
        left = n_rows
        while left != 0 and not self.is_empty():
            assert self._next is not None
            table = self._next if left is None else self._next.slice(0, left)
            self._next = self._next.slice(len(table))
            left = None if left is None else left - len(table)
            yield table


def write_shards(
    tables: Iterator[pa.Table],
    folder: Path,
    schema: pa.Schema,
    written: Written,
    shard_rows: int | None = None,
) -> None:
    """Write tables as ``part-00000.parquet`` and so on, cut at rows and at `SHARD_BYTES`."""
    folder.mkdir(parents=True)
    rows = RowStream(tables)
    number = 0
    while number == 0 or not rows.is_empty():
        path = folder / f"part-{number:05d}.parquet"
        with (
            open_output(path, "", written) as file,
            _parquet_writer(file, schema) as writer,
        ):
            for table in rows.take(shard_rows):
                writer.write_table(table)
                if file.n_bytes >= SHARD_BYTES:
                    break
        number += 1
