"""Rows with a list of responses as one row for each of them."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, Final, final

import pyarrow as pa

from curate.contracts.json_values import json_text
from curate.data.notations import listed_in
from curate.data.read.detection import Layout
from curate.data.read.records import MAX_BYTES, MAX_ROWS, BadRecord, Chunk
from curate.errors import DataError

_CONTINUES: Final = b"\r"  # ends the record of a file with Windows line ends


@final
class OneResponseEach:
    """Splits the rows of one dataset, chunk after chunk, where its format holds several responses.

    A row with n responses becomes n rows in the same columns, whose list holds one of them; a row
    with one or none is unchanged. Positions count the rows that come out. A list may be the JSON text
    of one, but in a CSV file, whose records are not written anew, such a row stays as it is.

    Parameters
    ----------
    container
        That of the dataset.
    """

    def __init__(self, container: str) -> None:
        self._reads_text = container != "csv"
        self._n_added = 0

    def __call__(self, chunk: Chunk, layout: Layout) -> Iterator[Chunk]:
        """Yield the chunk split by the column of the layout's ``several``, if it has one.

        Each of the chunks yielded ends at `MAX_ROWS` or `MAX_BYTES`, whichever comes first.
        Raises `DataError` for a column whose type cannot hold a list of one.
        """
        column = layout.columns.get(layout.format.several)
        if column is None or column not in chunk.names():
            yield self._moved(chunk)
            return
        values = chunk.values(column)
        lists = [self._several(value) for value in values]
        if not any(lists):
            yield self._moved(chunk)
            return
        counts = [max(len(listed), 1) for listed in lists]
        added = [0, *accumulate(count - 1 for count in counts)]  # before each good record
        bad = [
            replace(
                record,
                position=record.position
                + self._n_added
                + added[bisect_left(chunk.positions, record.position)],
            )
            for record in chunk.bad
        ]
        first = [chunk.positions[i] + self._n_added + added[i] for i in range(len(chunk))]
        self._n_added += added[-1]
        rows: _Columnar | _Records = (
            _Columnar(chunk, column, values) if chunk.rows is None else _Records(chunk, column)
        )
        yield from _pieces(rows, chunk, lists, first, bad)

    def _several(self, value: Any) -> Sequence[Any]:
        """Return the responses a value lists where they are more than one, else nothing."""
        if isinstance(value, str) and self._reads_text:
            value = listed_in(value)
        return value if isinstance(value, list) and len(value) > 1 else ()

    def _moved(self, chunk: Chunk) -> Chunk:
        if not self._n_added:
            return chunk
        return replace(
            chunk,
            positions=[position + self._n_added for position in chunk.positions],
            bad=[replace(bad, position=bad.position + self._n_added) for bad in chunk.bad],
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """The rows of a chunk that is being filled, and which of them continue a row of the input."""

    taken: list[int] = field(default_factory=list)
    made: list[Any] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    continued: set[int] = field(default_factory=set)


def _pieces(
    rows: "_Columnar | _Records",
    chunk: Chunk,
    lists: Sequence[Sequence[Any]],
    first: Sequence[int],
    bad: Sequence[BadRecord],
) -> Iterator[Chunk]:
    piece, n_bytes, n_bad = _Piece(), 0, 0

    def finished(until: int) -> Chunk:
        return replace(
            rows.taken(piece),
            positions=piece.positions,
            numbers=[chunk.numbers[i] for i in piece.taken],
            bad=bad[n_bad:until],
            continued=frozenset(piece.continued),
        )

    for i, listed in enumerate(lists):
        for k in range(max(len(listed), 1)):
            if len(piece.taken) >= MAX_ROWS or n_bytes >= MAX_BYTES:
                until = sum(record.position < first[i] for record in bad)
                yield finished(until)
                piece, n_bytes, n_bad = _Piece(), 0, until
            made, size = rows.single(i, listed[k]) if listed else rows.whole(i)
            piece.taken.append(i)
            piece.made.append(made)
            piece.positions.append(first[i] + k)
            if k:
                piece.continued.add(first[i] + k)
            n_bytes += size
    yield finished(len(bad))


@final
class _Records:
    """Rows of a text file: a record whose row is split is written anew, any other stays, byte for byte."""

    def __init__(self, chunk: Chunk, column: str) -> None:
        assert chunk.rows is not None
        self._chunk = chunk
        self._rows: Sequence[Mapping[str, Any]] = chunk.rows
        self._old = chunk.raw.column("record")
        self._column = column

    def single(self, i: int, response: Any) -> tuple[Any, int]:
        """Return a row with one of its responses alone, with its record, and its size in bytes."""
        row = {**self._rows[i], self._column: _alone(response, self._rows[i][self._column])}
        ending = _CONTINUES if self._old[i].as_py().endswith(_CONTINUES) else b""
        record = json_text(row) + ending
        return (row, record), len(record)

    def whole(self, i: int) -> tuple[Any, int]:
        """Return a row as it is."""
        record = self._old[i].as_py()
        return (self._rows[i], record), len(record)

    def taken(self, piece: _Piece) -> Chunk:
        """Return the chunk of these rows."""
        raw = pa.array([record for _, record in piece.made], pa.binary())
        return replace(
            self._chunk,
            raw=pa.RecordBatch.from_arrays([raw], schema=self._chunk.raw.schema),
            rows=[row for row, _ in piece.made],
        )


@final
class _Columnar:
    """Rows of a columnar file: the other columns are repeated, and the list holds one response."""

    def __init__(self, chunk: Chunk, column: str, values: Sequence[Any]) -> None:
        self._chunk = chunk
        self._values = values
        self._at = chunk.raw.schema.get_field_index(column)
        self._field = chunk.raw.schema.field(self._at)
        self._others = chunk.raw.drop_columns([column])

    def single(self, i: int, response: Any) -> tuple[Any, int]:
        """Return the value of a row with one of its responses alone, and the row's size in bytes."""
        made = _alone(response, self._values[i])
        return made, self._others.slice(i, 1).nbytes + len(str(made))

    def whole(self, i: int) -> tuple[Any, int]:
        """Return the value as it is."""
        value = self._values[i]
        return value, self._others.slice(i, 1).nbytes + len(str(value))

    def taken(self, piece: _Piece) -> Chunk:
        """Return the chunk of these rows."""
        others = self._others.take(pa.array(piece.taken, pa.int64()))
        try:
            made = pa.array(piece.made, self._field.type)
        except (pa.ArrowException, TypeError, ValueError):
            raise DataError(
                f"{self._chunk.path}: column {self._field.name!r} has the type {self._field.type}, which "
                "cannot hold a single response; make it a list of texts"
            ) from None
        return replace(self._chunk, raw=others.add_column(self._at, self._field, made))


def _alone(response: Any, listed: Any) -> Any:
    """Return a list of one response in the form of the list it is from: a list, or its JSON text."""
    return json_text([response]).decode() if isinstance(listed, str) else [response]
