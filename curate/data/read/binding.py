"""Which column plays which role, as columns appear; and which parts of the rows are not read."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, final

import pyarrow.compute as pc

from curate.data.read.containers.readers import open_reader
from curate.data.read.detection import (
    LATE_CONTAINERS,
    Layout,
    detect,
    no_such_column,
    optional_roles,
)
from curate.data.read.formats import MEDIA_ROLES
from curate.data.read.records import Chunk
from curate.data.read.several import OneResponseEach
from curate.data.read.sources import Source
from curate.data.read.turn_keys import is_filled, unread_turn_keys
from curate.errors import DataError

_TURN_ROLES: Final = ("messages", "prompt", "completion", "chosen")
_SAID_ROLES: Final = ("system", "input")


@final
class Binder:
    """The layout of one dataset, which grows while the dataset is read.

    The format is decided by the first rows. An optional role whose column first appears later, in
    whatever row of whatever file, is bound then: the rows before it do not have the column.

    Parameters
    ----------
    name
        The dataset, for messages.
    first
        The first chunk with a good row.
    container
        That of the dataset; only records of JSON can have columns that appear late.
    format_name, mapping, roles
        ``--format``, ``--column`` and ``--role``; see `curate.data.read.detection.detect`.

    Raises what `detect` raises.
    """

    def __init__(
        self,
        name: str,
        first: Chunk,
        container: str,
        format_name: str = "auto",
        mapping: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._mapping = mapping or {}
        self._late = container in LATE_CONTAINERS
        self._names = dict.fromkeys(first.names())
        self._columns: Counter[str] = Counter()
        self._turn_keys: Counter[str] = Counter()
        layout = detect(
            name, list(self._names), first.sample(200).values, format_name, self._mapping,
            roles or {}, late=self._late,
        )  # fmt: skip
        self.layout = self._with_rivals(layout)

    def see(self, chunk: Chunk) -> Layout:
        """Return the layout for a chunk, in which columns seen for the first time are bound."""
        new = [name for name in chunk.names() if name not in self._names] if self._late else []
        if new:
            self._names.update(dict.fromkeys(new))
            self._bind(chunk, new)
        return self.layout

    def _with_rivals(self, layout: Layout) -> Layout:
        """Return a layout with the columns that nobody chose, of roles whose loss would be silent."""
        bound = layout.columns
        rivals = {
            role: tuple(n for n in names if n in self._names and n not in bound.values())
            for role, names in optional_roles(layout.format, bound).items()
            if role in (*_SAID_ROLES, *MEDIA_ROLES) and role in bound and role not in self._mapping
        }
        return replace(layout, rivals={role: names for role, names in rivals.items() if names})

    def check(self) -> None:
        """Raise `DataError` for a column of ``--column`` that no row has; after the last chunk."""
        for role, column in self._mapping.items():
            if column and column not in self._names:
                raise no_such_column(self._name, role, column, list(self._names))

    @property
    def unread(self) -> dict[str, int]:
        """Columns and turn keys with content that is not read, and in how many rows or turns."""
        bound = set(self.layout.columns.values())
        columns = {name: n for name, n in self._columns.items() if name not in bound}
        keys = {f"turn key {key}": n for key, n in self._turn_keys.items()}
        return columns | keys

    def _bind(self, chunk: Chunk, new: Sequence[str]) -> None:
        bound = dict(self.layout.columns)
        for role, defaults in optional_roles(self.layout.format, bound).items():
            if role in bound or role in self._mapping:
                continue
            free = [name for name in defaults if name in new and name not in bound.values()]
            if free and (role != "source" or _is_text_or_missing(chunk.values(free[0]))):
                bound[role] = free[0]
        self.layout = self._with_rivals(replace(self.layout, columns=bound))

    def count(self, chunk: Chunk) -> None:
        """Count what has content in a chunk, already seen, but is not read."""
        bound = set(self.layout.columns.values())
        if chunk.rows is None:
            for name in chunk.raw.schema.names:
                if name not in bound and (n := _n_filled(chunk, name)):
                    self._columns[name] += n
        else:
            self._columns.update(
                name
                for row in chunk.rows
                for name, value in row.items()
                if name not in bound and is_filled(value)
            )
        for role in _TURN_ROLES:
            column = self.layout.columns.get(role)
            if column is not None and column in self._names:
                self._turn_keys.update(unread_turn_keys(chunk.values(column)))


def bound_chunks(source: Source) -> Iterator[tuple[Chunk, Layout]]:
    """Yield the chunks of a dataset that no option describes, each with the layout to read it in.

    Raises `DataError` for rows that do not parse, for a dataset without rows, and what `detect`
    raises.
    """
    binder: Binder | None = None
    split = OneResponseEach(source.container)
    for chunk in open_reader(source).chunks():
        if chunk.bad:
            raise DataError(f"{chunk.bad[0].place}: {chunk.bad[0].reason}")
        if not len(chunk):  # an empty file among others
            continue
        binder = binder or Binder(source.name, chunk, source.container)
        layout = binder.see(chunk)
        for piece in split(chunk, layout):
            yield piece, layout
    if binder is None:
        raise DataError(f"{source.name} holds no rows; check that it is the right file")


def _n_filled(chunk: Chunk, name: str) -> int:
    column = chunk.raw.column(name)
    if not len(column) - column.null_count:
        return 0
    try:
        return int(pc.sum(pc.greater(pc.binary_length(column), 0)).as_py() or 0)
    except NotImplementedError:  # not text
        return int(len(column) - column.null_count)


def _is_text_or_missing(values: Sequence[Any]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)
