"""The page's queries: search, filter, ranges, area of the map, issue, selections; and their rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast, final, get_args

import numpy as np

from curate.errors import ConfigError, DataError
from curate.store.expressions import parse
from curate.store.grammar import Call, Literal_, Name, to_text
from curate.store.query import mark_columns
from curate.views.explore.issue_kinds import issue_mask
from curate.views.explore.points import Area
from curate.views.explore.session import STORED, Session

if TYPE_CHECKING:
    from curate.store.ids import Rows
    from curate.store.query.snapshot import Mask, Snapshot, Values

Part = Literal["both", "only-a", "only-b", "either", "neither"]
RELEVANCE: Final = "relevance"
BY_ID: Final = "id"


@final
@dataclass(frozen=True, slots=True)
class Range:
    """A brushed part of a histogram, both ends included."""

    column: str
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Read ``column:low:high``; `ConfigError` for anything else."""
        column, _, rest = text.rpartition(":")[0].rpartition(":")
        try:
            low, high = float(rest), float(text.rpartition(":")[2])
        except ValueError:
            low = high = math.nan
        if not column or not math.isfinite(low) or not math.isfinite(high):
            raise ConfigError(f"a range must be COLUMN:LOW:HIGH with finite numbers, got {text!r}")
        return cls(column, low, high)


@final
@dataclass(frozen=True, slots=True)
class Query:
    """Which rows to show: those that satisfy every given condition."""

    search: str = ""
    where: str = ""
    ranges: tuple[Range, ...] = ()
    a: str = ""
    b: str = ""
    part: Part = "either"
    area: Area | None = None
    issue: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str], ranges: Sequence[str]) -> "Query":
        """Read the parameters of a request; `ConfigError` for invalid values."""
        part = given.get("part") or "either"
        if part not in get_args(Part):
            raise ConfigError(f"part must be one of {', '.join(get_args(Part))}, got {part!r}")
        return cls(
            search=given.get("q", "").strip(),
            where=given.get("where", "").strip(),
            ranges=tuple(map(Range.parse, ranges)),
            a=given.get("a", ""),
            b=given.get("b", ""),
            part=cast(Part, part),
            area=Area.parse(given["area"]) if given.get("area") else None,
            issue=given.get("issue", ""),
        )

    @classmethod
    def of_json(cls, given: object) -> "Query":
        """Read a query of a posted document; `ConfigError` for anything that is none."""
        if not isinstance(given, dict):
            raise ConfigError(f"a query must be an object, got {given!r}")
        ranges = given.get("range", [])
        texts = {name: value for name, value in given.items() if name != "range"}
        if not isinstance(ranges, list) or not all(
            isinstance(value, str) for value in (*ranges, *texts.values())
        ):
            raise ConfigError("a query has texts, and a list of texts as its range")
        return cls.parse(texts, ranges)

    def mask(self, session: Session, snapshot: "Snapshot") -> "Mask":
        """Return which rows of the snapshot satisfy the query, (n,)."""
        mask = np.ones(len(snapshot), dtype=bool)
        if self.where:
            where = self.where
            by_hand = mark_columns.asked(parse(where, snapshot.shapes).columns)
            key = (STORED, "where", where) if by_hand else ("where", where)
            mask &= session.remembered(key, lambda: snapshot.matching(where))
        if self.search:
            mask &= searched(session, snapshot, self.search)[0]
        for bounds in self.ranges:
            values = numbers(session, snapshot, bounds.column)
            mask &= (values >= bounds.low) & (values <= bounds.high)
        if self.a or self.b:
            mask &= self._part(session, snapshot)
        if self.area is not None:
            mask &= self.area.mask(session, snapshot)
        if self.issue:
            mask &= issue_mask(session, snapshot, self.issue)
        return mask

    def expression(self, aliases: Iterable[str]) -> str:
        """Return the filter and the ranges as one condition for ``--where``; "" for none.

        ``aliases`` are the names of the score sets, as `parse` takes them.
        """
        conditions = [str(parse(self.where, aliases))] if self.where else []
        conditions += [
            to_text(Call("between", (Name(r.column), Literal_(r.low), Literal_(r.high))))
            for r in self.ranges
        ]
        return " and ".join(conditions)

    def _part(self, session: Session, snapshot: "Snapshot") -> "Mask":
        def make() -> "Mask":
            n = len(snapshot)
            none = np.zeros(n, dtype=bool)
            a = session.selection(self.a).mask(n) if self.a else none
            b = session.selection(self.b).mask(n) if self.b else none
            return {
                "both": a & b, "only-a": a & ~b, "only-b": b & ~a, "either": a | b,
                "neither": ~(a | b),
            }[self.part]  # fmt: skip

        return session.remembered((STORED, self.a, self.b, self.part), make)


def searched(session: Session, snapshot: "Snapshot", query: str) -> "tuple[Mask, Values]":
    """Return the rows a search finds and their relevance."""
    from curate.store.query.searching import search

    return session.remembered(("search", query), lambda: search(snapshot, query))


def numbers(session: Session, snapshot: "Snapshot", column: str) -> "Values":
    """Return a column of numbers, (n,), NaN where there is none; `DataError` if it has none."""
    known = snapshot.columns.get(column)
    if known is None or known.kind not in ("number", "bool"):
        able = [
            name
            for name, described in snapshot.columns.items()
            if described.kind in ("number", "bool")
        ]
        raise DataError(f"no numeric column {column!r}; available: {', '.join(able)}")
    return session.remembered(("values", column), lambda: snapshot.values(column))


def first_rows(
    session: Session,
    question: Query,
    sort: str,
    descending: bool,
    offset: int,
    limit: int,
) -> "tuple[int, Rows]":
    """Return how many rows satisfy the query, and one page of them in order.

    Ties are in order of id, and rows without a value come last. O(n), and the rows up to the end
    of the page are sorted.
    """
    snapshot = session.snapshot()
    rows = np.flatnonzero(question.mask(session, snapshot))
    if sort == BY_ID:
        ordered = rows[::-1] if descending else rows
        return len(rows), ordered[offset : offset + limit]
    if sort == RELEVANCE:
        if not question.search:
            raise ConfigError(
                "rows can be sorted by relevance only in a search; choose another column"
            )
        key = -searched(session, snapshot, question.search)[1]
    else:
        key = _places_of(session, snapshot, sort)
        key = -key if descending else key
    return len(rows), rows[smallest(key[rows], offset + limit)[offset:]]


def smallest(key: "Values", k: int) -> "Rows":
    """Return the places of the k smallest values in order; ties by place, NaN after all others.

    Examples
    --------
    >>> smallest(np.array([2.0, np.nan, 1.0, 2.0, 0.0]), 4).tolist()
    [4, 2, 0, 3]
    """
    key = np.where(np.isnan(key), np.inf, key)
    at = np.arange(len(key))
    if 0 < k < len(key):
        last = np.partition(key, k - 1)[k - 1]
        below = np.flatnonzero(key < last)
        at = np.concatenate([below, np.flatnonzero(key == last)[: k - len(below)]])
    return at[np.argsort(key[at], kind="stable")]


def _places_of(session: Session, snapshot: "Snapshot", sort: str) -> "Values":
    """Return what to sort a column by: its numbers, or the places of its texts in the alphabet."""
    known = snapshot.columns.get(sort)
    if known is None or known.kind != "text":
        return numbers(session, snapshot, sort)

    def make() -> "Values":
        codes, names = snapshot.codes(sort)
        place = np.full(len(names) + 1, np.nan)  # the last is that of code -1: no value
        place[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return place[codes]

    return session.remembered(("places", sort), make)
