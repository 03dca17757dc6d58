"""What every reader yields: a bounded run of rows, raw and parsed, with their places."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, final

import pyarrow as pa

from curate.data.json_columns import holds_json, said_by
from curate.store.pool.values import python_values

MAX_ROWS: Final = 8192
MAX_BYTES: Final = 16 << 20  # of raw records: a chunk ends at whichever comes first
MAX_RECORD_BYTES: Final = 64 << 20  # of one record of a text file; a longer one is no example
TEXT_SCHEMA: Final = pa.schema([("record", pa.binary())])

Sample: TypeAlias = Callable[[str], Sequence[Any]]  # column -> its values in the first rows


def too_long(n_bytes: int) -> str:
    """Return in words that a record is longer than one may be, or ""."""
    if n_bytes <= MAX_RECORD_BYTES:
        return ""
    return (
        f"longer than {MAX_RECORD_BYTES / 2**20:g} MiB, the most one record may have; look for a quote "
        "or bracket that is not closed or a line break that is missing, or split it"
    )


def repeated(names: Iterable[str]) -> str | None:
    """Return the first name that is there a second time, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


@final
@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record that cannot be used: its 0-based position, where it is for a human, and why.

    Both texts can be stored: half a character that they quote from the record is spelt out.
    """

    position: int
    place: str
    reason: str

    def __post_init__(self) -> None:
        for name in ("place", "reason"):
            text = getattr(self, name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, name, text)


@final
@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one file, at most `MAX_ROWS`, and those of them that do not parse.

    Parameters
    ----------
    path
        The file, as a user would name it.
    unit
        What ``numbers`` counts: ``line`` of a text file, ``row`` of a columnar one, both from 1.
    positions
        0-based position in the whole dataset of each good record, bad and skipped ones counted.
    numbers
        Line or row number in ``path`` of each good record.
    raw
        The good records exactly as they are in the input, one row each.
    rows
        The good records parsed, for text containers; None for columnar ones, whose ``raw`` is
        read column by column.
    bad
        The records that do not parse.
    continued
        Positions of the good records that are a further response of the input's row before them.
    """

    path: str
    unit: str
    positions: Sequence[int]
    numbers: Sequence[int]
    raw: pa.RecordBatch
    rows: Sequence[Mapping[str, Any]] | None = None
    bad: Sequence[BadRecord] = field(default=())
    continued: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """Return the number of good records."""
        return len(self.positions)

    @property
    def n_read(self) -> int:
        """Records read, good and bad."""
        return len(self.positions) + len(self.bad)

    def place(self, index: int) -> str:
        """Name the place of one good record, as in ``pool.jsonl line 17``."""
        return f"{self.path} {self.unit} {self.numbers[index]}"

    def names(self) -> list[str]:
        """List the columns found, in order of first appearance."""
        if self.rows is None:
            return list(self.raw.schema.names)
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def values(self, name: str) -> list[Any]:
        """Return one column as Python values; None where a record lacks it.

        Null fields of Arrow structs are dropped: nested columns hold every key of every row, null
        where a row did not have it. Maps become dictionaries, and JSON what it says; see
        `python_values` for what Python has no room for.
        """
        if self.rows is not None:
            return [row.get(name) for row in self.rows]
        column = self.raw.column(name)
        values = python_values(column)
        if pa.types.is_nested(column.type):
            values = [without_nulls(value) for value in values]
        if holds_json(column.type):
            values = [said_by(name, value, column.type) for value in values]
        return values

    def head(self, n: int) -> "Chunk":
        """Keep the records among the first ``n`` read."""
        if n >= self.n_read:
            return self
        end = sorted([*self.positions, *(bad.position for bad in self.bad)])[n - 1] if n > 0 else -1
        kept = self.sample(sum(position <= end for position in self.positions))
        return replace(kept, bad=[bad for bad in self.bad if bad.position <= end])

    def sample(self, n: int) -> "Chunk":
        """Return the first ``n`` good records alone."""
        rows = None if self.rows is None else self.rows[:n]
        raw = self.raw.slice(0, n)
        return Chunk(self.path, self.unit, self.positions[:n], self.numbers[:n], raw, rows)


def without_nulls(value: Any) -> Any:
    """Drop null fields of dictionaries at any depth; nulls in lists stay."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
