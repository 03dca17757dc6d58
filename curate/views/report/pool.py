"""What a page reads from a store: the pool and its scores as arrays in order of id, one query each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.errors import ConfigError
from curate.registry import get_scorer
from curate.views.charts.numbers import Bins, Values, bins_of, most_common

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import ScoreSetStatus, Store
    from curate.store.query.snapshot import Snapshot

Rows = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

NUMERIC: Final = ("float", "int", "bool")
LENGTH_SCORER: Final = "length"


@final
@dataclass(frozen=True, slots=True, eq=False)
class PoolFacts:
    """A snapshot of a store, and what a report asks of every example of it, in order of id.

    Parameters
    ----------
    snapshot
        Ids, and the rows of ids.
    status
        As `Store.status` returns it.
    sources, source_names
        Code of each example's source, (n,), and the names by code, in order of first appearance.
    groups
        Code of each example's group, (n,): examples of one prompt share it.
    n_rows
        Rows of the input that are this example, (n,).
    n_chars
        Characters of all messages, (n,).
    """

    snapshot: "Snapshot"
    status: Mapping[str, Any]
    sources: Rows
    source_names: Sequence[str]
    groups: Rows
    n_rows: Rows
    n_chars: Rows

    def __len__(self) -> int:
        return len(self.snapshot)

    @property
    def selections(self) -> list[Mapping[str, Any]]:
        """Records of the selections people asked for, oldest first: not those of proofs and procedures."""
        return [record for record in self.status["selections"] if not record["internal"]]


@final
@dataclass(frozen=True, eq=False)
class ScoreColumn:
    """One numeric column of a score set over the whole pool; NaN where there is no value."""

    set_id: str
    alias: str
    name: str
    dtype: str
    values: Values
    meaning: str = ""

    @property
    def label(self) -> str:
        """Name of the column for SQL users: ``alias.name``."""
        return f"{self.alias}.{self.name}"

    @property
    def finite(self) -> Values:
        """Values that exist, in order of id."""
        missing = np.isnan(self.values)
        return self.values[~missing] if missing.any() else self.values

    @cached_property
    def ordered(self) -> Values:
        """Values that exist, ascending."""
        return np.sort(self.finite)

    @cached_property
    def most_common(self) -> tuple[float, float]:
        """The most common of its values, and its share of them."""
        return most_common(self.ordered)

    @cached_property
    def bins(self) -> Bins:
        """How its values lie, if it has some."""
        return bins_of(self.ordered)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A score set: its record, its numeric columns, and its failures by reason."""

    status: "ScoreSetStatus"
    columns: Sequence[ScoreColumn]
    failures: Mapping[str, int] = field(default_factory=dict)

    def column(self, name: str) -> ScoreColumn | None:
        """Return a column by name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@final
@dataclass(frozen=True, eq=False)
class Lengths:
    """The length of each example, NaN where it is not known, (n,), and its unit."""

    values: Values
    unit: str

    @cached_property
    def ordered(self) -> Values:
        """Lengths that are known, ascending."""
        return np.sort(self.values[~np.isnan(self.values)])

    @cached_property
    def bins(self) -> Bins:
        """How they lie, if some are known."""
        return bins_of(self.ordered)


def read_facts(store: "Store") -> PoolFacts:
    """Read every example's facts, and none of its texts."""
    snapshot = store.snapshot()
    sources, names = _by_appearance(*snapshot.codes("source"))
    groups, _ = snapshot.codes("group_id")
    return PoolFacts(
        snapshot=snapshot,
        status=store.status(),
        sources=sources,
        source_names=names,
        groups=groups,
        n_rows=_whole(snapshot.array("n_rows")),
        n_chars=_whole(snapshot.array("n_chars")),
    )


def _by_appearance(codes: Rows, names: Sequence[str]) -> tuple[Rows, list[str]]:
    """Renumber codes so that those that appear earlier in order of id are lower."""
    first = np.full(len(names), len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    order = np.argsort(first, kind="stable")
    number = np.empty(len(names), dtype=np.int64)
    number[order] = np.arange(len(names))
    return number[codes], [names[k] for k in order.tolist()]


def read_scores(
    store: "Store", pool: PoolFacts, statuses: "Sequence[ScoreSetStatus]"
) -> list[Scored]:
    """Read the numeric columns of score sets; vectors, lists and texts are left alone.

    The sets that are not complete, too.
    """
    return [_read_set(store, pool.snapshot, status) for status in statuses]


def _read_set(store: "Store", snapshot: "Snapshot", status: "ScoreSetStatus") -> Scored:
    from curate.store.connection import literal

    names = [name for name, dtype in status.columns.items() if dtype in NUMERIC]
    meanings = _meanings(status.scorer)
    reasons = store.read(
        f"select reason, count(*) as n from failures where set_id = {literal(status.set_id)} "
        "group by all order by n desc, reason"
    ).to_pylist()
    failures = {row["reason"]: int(row["n"]) for row in reasons}
    columns = [
        ScoreColumn(
            status.set_id, status.alias, name, status.columns[name], values, meanings.get(name, "")
        )
        for name, values in snapshot.numbers(status.set_id, names).items()
    ]
    return Scored(status, columns, failures)


def lengths(pool: PoolFacts, scored: Sequence[Scored]) -> Lengths:
    """Return each example's length: in tokens if they are counted, else in characters."""
    for scores in reversed(scored):
        if scores.status.scorer == LENGTH_SCORER and scores.status.complete:
            parts = [scores.column("prompt_tokens"), scores.column("response_tokens")]
            total = np.sum([part.values for part in parts if part is not None], axis=0)
            if not np.isnan(total).all():
                return Lengths(total, "tokens")
    return Lengths(pool.n_chars.astype(np.float64), "characters")


def _meanings(scorer: str) -> dict[str, str]:
    try:
        return {name: column.meaning for name, column in get_scorer(scorer).outputs.items()}
    except ConfigError:
        return {}  # scored with a package that is not installed here


def _whole(column: "pa.Array") -> Rows:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)
