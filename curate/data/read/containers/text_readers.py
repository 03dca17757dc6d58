"""Text containers, streamed: JSON Lines, JSON, CSV; plain, ``.gz`` or ``.zst``."""

import csv
import gzip
import io
import itertools
import json
import re
import shlex
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from curate.data.read import records
from curate.data.read.containers.json_elements import elements
from curate.data.read.records import (
    MAX_BYTES,
    MAX_ROWS,
    TEXT_SCHEMA,
    BadRecord,
    Chunk,
    repeated,
)
from curate.errors import DataError

BOM: Final = b"\xef\xbb\xbf"
_SHOWN: Final = 80
_DELIMITERS: Final = ",\t;|"
_ARRAY: Final = re.compile(rb"\[\s*(\{|\n)")
_OVER_LINES: Final = re.compile(rb"\{\s*\n\s*\"")  # a line of JSON Lines begins with a bracket
# What csv says of a carriage return outside quotes, before it speaks of Python's own open().
_BARE: Final = "new-line character"


@contextmanager
def open_bytes(path: Path, compression: str) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading its decompressed bytes; `DataError` if it is missing or damaged."""
    try:
        with path.open("rb") as plain:
            if compression == "gz":
                with gzip.GzipFile(fileobj=plain) as unzipped:
                    yield unzipped
            elif compression == "zst":
                with pa.CompressedInputStream(pa.PythonFile(plain, mode="r"), "zstd") as stream:
                    yield io.BufferedReader(stream, 1 << 20)
            else:
                yield plain
    except FileNotFoundError:
        raise DataError(f"no file {str(path)!r}; check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        if compression and not isinstance(error, PermissionError):
            raise DataError(
                f"cannot decompress {path}: {error}; the file is damaged or not .{compression}"
            ) from None
        if isinstance(error, OSError) and error.errno is not None:
            reason = f"{error.strerror}; check its permissions"
        else:
            reason = f"{error}; the file is damaged"
        raise DataError(f"cannot read {path}: {reason}") from None


@final
class _Collector:
    """Collects records of one file into chunks bounded in rows and bytes."""

    def __init__(self, path: Path, position: int) -> None:
        self._path = str(path)
        self._next = position
        self._bytes = 0
        self._clear()

    def _clear(self) -> None:
        self._positions: list[int] = []
        self._numbers: list[int] = []
        self._raw: list[bytes] = []
        self._rows: list[dict[str, Any]] = []
        self._bad: list[BadRecord] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        n_read = len(self._rows) + len(self._bad)
        return n_read >= MAX_ROWS or self._bytes >= MAX_BYTES

    def add(self, number: int, raw: bytes, row: dict[str, Any]) -> None:
        self._positions.append(self._next)
        self._numbers.append(number)
        self._raw.append(raw)
        self._rows.append(row)
        self._bytes += len(raw)
        self._next += 1

    def add_bad(self, number: int, reason: str) -> None:
        self._bad.append(BadRecord(self._next, f"{self._path} line {number}", reason))
        self._next += 1

    def take(self) -> Chunk:
        raw = pa.record_batch([pa.array(self._raw, pa.binary())], schema=TEXT_SCHEMA)
        chunk = Chunk(
            self._path, "line", self._positions, self._numbers, raw, self._rows, self._bad
        )
        self._clear()
        return chunk


def lines_of(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """Yield the lines of a stream; of one longer than a record may be, its beginning.

    The rest of such a line is read past, in bounded memory. What is yielded of it is one byte longer
    than a record may be, so that `records.too_long` tells it.
    """
    limit = records.MAX_RECORD_BYTES + 1
    while line := stream.readline(limit):
        if len(line) == limit and not line.endswith(b"\n"):
            while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
                continue
        yield line


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object; raise ValueError with the reason in words."""
    if problem := records.too_long(len(raw)):
        raise ValueError(problem)
    try:
        row = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise ValueError(f"not UTF-8: byte 0x{byte:02x} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} " if error.lineno > 1 else ""
        raise ValueError(f"not valid JSON: {error.msg} at {where}column {error.colno}") from None
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None
    if isinstance(row, dict):
        return row
    if isinstance(row, list) and row and isinstance(row[0], dict):
        raise ValueError(
            'an array, not a JSON object; put a list of turns under a name, as in {"messages": [...]}'
        )
    kind = {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}
    raise ValueError(f"{kind.get(type(row), 'a number')}, not a JSON object")


def read_jsonl(path: Path, compression: str, position: int) -> Iterator[Chunk]:
    r"""Stream a JSON Lines file; ``position`` is that of its first record in the dataset.

    A raw record is everything up to the ``\n``: a ``\r`` before it stays part of the record, so
    that lines come back byte for byte even where endings are mixed. Blank lines are no records.
    """
    _refuse_other_text(path, compression)
    with open_bytes(path, compression) as stream:
        collector = _Collector(path, position)
        ending = b""
        for number, line in enumerate(lines_of(stream), 1):
            if number == 1 and line.startswith(BOM):
                line = line[len(BOM) :]
            if line.endswith(b"\n"):
                line = line[:-1]
                ending = line[-1:]
            elif ending == b"\r" and not line.endswith(b"\r"):
                line += b"\r"  # the last line lacks its ending: complete it like the line before
            if not line.strip():
                continue
            try:
                row = parse_object(line)
            except ValueError as error:
                collector.add_bad(number, str(error))
            else:
                collector.add(number, line, row)
            if collector.full:
                yield collector.take()
        yield collector.take()


def _refuse_other_text(path: Path, compression: str) -> None:
    """Raise `DataError` for a file that is not JSON Lines as a whole, and say what it is."""
    with open_bytes(path, compression) as stream:
        start = stream.read(1 << 12)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or (start[:1] == b"{" and start[1:2] == b"\0"):
        raise DataError(
            f"{path} is UTF-16 text, not UTF-8; convert it: "
            f"iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}"
        )
    first = start.removeprefix(BOM).lstrip()
    if _OVER_LINES.match(first):
        raise DataError(
            f"{path} is JSON over several lines, not JSON Lines; rename it to "
            f"{_with_json_suffix(path).name}"
        )
    if _ARRAY.match(first):
        raise DataError(
            f"{path} is one JSON array, not JSON Lines; rename it to {_with_json_suffix(path).name}"
        )


def _with_json_suffix(path: Path) -> Path:
    if path.suffix in (".gz", ".zst"):
        return path.with_suffix("").with_suffix(f".json{path.suffix}")
    return path.with_suffix(".json")


def read_json(path: Path, compression: str, position: int) -> Iterator[Chunk]:
    """Stream a ``.json`` file: an array of objects, one object, or actually JSON Lines."""
    if _is_really_jsonl(path, compression):
        yield from read_jsonl(path, compression, position)
        return
    with open_bytes(path, compression) as stream:
        collector = _Collector(path, position)
        for element in elements(stream):
            try:
                if element.problem:
                    raise ValueError(element.problem)
                row = parse_object(element.text)
            except ValueError as error:
                collector.add_bad(element.line, str(error))
            else:
                collector.add(element.line, element.text, row)
            if collector.full:
                yield collector.take()
        yield collector.take()


def _is_really_jsonl(path: Path, compression: str) -> bool:
    with open_bytes(path, compression) as stream:
        start = stream.read(1 << 12)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            return True  # which says that it is UTF-16
        start = start.removeprefix(BOM).lstrip()
        if not start.startswith(b"{"):
            return False
    with open_bytes(path, compression) as stream:
        lines = lines_of(stream)
        first = next((line for line in lines if line.removeprefix(BOM).strip()), b"")
    try:
        parse_object(first.removeprefix(BOM))
    except ValueError:
        return False
    return True


class _TooLongError(ValueError):
    """A record of a CSV file is longer than one may be."""


@final
class _Lines:
    """Lines of a CSV file as text, remembering those that make up the current record."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = lines_of(stream)
        self._current = bytearray()  # short lines, kept one by one, take ten times their bytes
        self._ending = b""
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._stream)
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(BOM)
        if problem := records.too_long(len(self._current) + len(line)):
            self._current[:] = line[:_SHOWN]  # the reader begins again with the next line
            raise _TooLongError(problem)
        self._current += line
        return line.decode("utf-8", "surrogateescape")

    def take(self) -> bytes:
        """Return the exact bytes of the record just read, without its last line feed."""
        raw = bytes(self._current)
        self._current.clear()
        if raw.endswith(b"\n"):
            raw = raw[:-1]
            self._ending = raw[-1:]
        elif self._ending == b"\r" and raw and not raw.endswith(b"\r"):
            raw += b"\r"  # the last line lacks its ending: complete it like the line before
        return raw


def csv_header(path: Path, compression: str) -> dict[str, str]:
    """Return the dialect of a CSV file: its ``delimiter`` and the exact text of its ``header``."""
    with open_bytes(path, compression) as stream:
        lines = _Lines(stream)
        try:
            first = next(lines, "")
            delimiter = max(_DELIMITERS, key=first.count)  # a comma where there is none of them
            record = itertools.chain([first], lines)
            next(csv.reader(record, delimiter=delimiter, strict=True), None)
        except (csv.Error, _TooLongError) as error:
            raise DataError(_header_problem(path, compression, str(error))) from None
        raw = lines.take()
    try:
        header = raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} line 1: not UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start}; "
            "convert the file to UTF-8"
        ) from None
    return {"delimiter": delimiter, "header": header}


def _header_problem(path: Path, compression: str, error: str) -> str:
    if _BARE in error:
        old, new = shlex.quote(path.name), shlex.quote(f"lines-{path.name}")
        command = "" if compression else f": tr '\\r' '\\n' < {old} > {new}"
        return (
            f"{path} line 1: the header is not valid CSV (it ends in \\r, as in classic Mac files); "
            f"look for a quote that is not closed, or convert the line ends to \\n{command}"
        )
    reason = "the file ends inside quotes" if "end of data" in error else error
    return (
        f"{path} line 1: the header is not valid CSV ({reason}); look for a stray quote, or for a "
        "quote that is not closed"
    )


def read_csv(path: Path, compression: str, position: int) -> Iterator[Chunk]:
    r"""Stream a CSV or TSV file with a header line; every value is text.

    A raw record is its exact text, line breaks inside quotes included, without the last ``\n``.
    """
    delimiter = csv_header(path, compression)["delimiter"]
    with open_bytes(path, compression) as stream, _unlimited_fields():
        lines = _Lines(stream)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        names = next(reader, [])
        lines.take()
        twice = repeated(names)
        if twice is not None:
            raise DataError(f"{path} line 1: the header has column {twice!r} twice; rename one")
        collector = _Collector(path, position)
        while True:
            number = lines.number + 1
            try:
                fields = next(reader, None)
            except _TooLongError as error:
                lines.take()
                collector.add_bad(number, str(error))
                continue
            except csv.Error as error:
                lines.take()
                reason = "a carriage return outside quotes" if _BARE in str(error) else error
                collector.add_bad(number, f"not valid CSV: {reason}")
                continue
            if fields is None:
                break
            raw = lines.take()
            if fields:
                _add_csv(collector, number, raw, names, fields)
            if collector.full:
                yield collector.take()
        yield collector.take()


def _add_csv(
    collector: _Collector, number: int, raw: bytes, names: list[str], fields: list[str]
) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        number += raw.count(b"\n", 0, error.start)
        byte = f"byte 0x{raw[error.start]:02x} at byte {error.start} of the record"
        collector.add_bad(number, f"not UTF-8: {byte}")
        return
    if len(fields) != len(names):
        collector.add_bad(number, f"{len(fields)} fields, but the header has {len(names)}")
        return
    collector.add(number, raw, dict(zip(names, fields, strict=True)))


@contextmanager
def _unlimited_fields() -> Iterator[None]:
    previous = csv.field_size_limit(1 << 30)
    try:
        yield
    finally:
        csv.field_size_limit(previous)
