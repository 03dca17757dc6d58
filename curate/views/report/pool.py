"""What a page reads from a store: the pool and its scores as arrays in order of id, one query each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.errors import ConfigError
from curate.registry import get_scorer
from curate.views.charts.numbers import Values

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import ScoreSetStatus, Store

Integers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

NUMERIC: Final = ("float", "int", "bool")
LENGTH_SCORER: Final = "length"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Every example of a store, in order of id.

    Parameters
    ----------
    ids
        (n,) of 32 bytes each.
    sources, source_names
        Code of each example's source, and the names by code.
    groups
        Code of each example's group: examples of one prompt share it.
    n_rows
        Rows of the input that are this example.
    n_chars, response_chars
        Characters of all messages, and of the last response.
    status
        As `Store.status` returns it.
    """

    ids: np.ndarray[Any, np.dtype[np.bytes_]]
    sources: Integers
    source_names: Sequence[str]
    groups: Integers
    n_rows: Integers
    n_chars: Integers
    response_chars: Integers
    status: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    def places(self, ids: "pa.Array | pa.ChunkedArray") -> Integers:
        """Return the positions of ids in the pool; -1 for those no longer in it."""
        from curate.store.ids import id_bytes

        wanted = id_bytes(ids)
        if not len(self.ids):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[at] == wanted, at, -1)

    def names(self, rows: Integers) -> list[str]:
        """Return the ids of some examples as text."""
        return [one.decode("ascii") for one in self.ids[rows].tolist()]


@final
@dataclass(frozen=True, slots=True, eq=False)
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
        return self.values[~np.isnan(self.values)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A score set: its record, its numeric columns, and its failures by reason."""

    status: "ScoreSetStatus"
    columns: Sequence[ScoreColumn]
    failures: Mapping[str, int] = field(default_factory=dict)

    def column(self, name: str) -> ScoreColumn | None:
        """Return a column by name, or None."""
        return next((one for one in self.columns if one.name == name), None)


def read_pool(store: "Store") -> Pool:
    """Read every example's facts, without its texts."""
    table = store.query(
        "select id, source, group_id, n_rows, n_chars, length(response) as response_chars "
        "from examples order by id"
    )
    from curate.store.ids import id_bytes

    sources = table["source"].combine_chunks().dictionary_encode()
    groups = table["group_id"].combine_chunks().dictionary_encode()
    return Pool(
        ids=id_bytes(table["id"]),
        sources=sources.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        source_names=sources.dictionary.to_pylist(),
        groups=groups.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        n_rows=_whole(table["n_rows"]),
        n_chars=_whole(table["n_chars"]),
        response_chars=_whole(table["response_chars"]),
        status=store.status(),
    )


def read_scores(store: "Store", pool: Pool, statuses: "Sequence[ScoreSetStatus]") -> list[Scored]:
    """Read the numeric columns of score sets; vectors, lists and texts are left alone."""
    return [_read_set(store, pool, status) for status in statuses]


def _read_set(store: "Store", pool: Pool, status: "ScoreSetStatus") -> Scored:
    from curate.store.connection import identifier, literal

    names = [name for name, dtype in status.columns.items() if dtype in NUMERIC]
    meanings = _meanings(status.scorer)
    reasons = store.query(
        f"select reason, count(*) as n from failures where set_id = {literal(status.set_id)} "
        "group by all order by n desc, reason"
    ).to_pylist()
    failures = {row["reason"]: int(row["n"]) for row in reasons}
    if not names:
        return Scored(status, (), failures)
    listed = "".join(f", {identifier(name)}::double as {identifier(name)}" for name in names)
    table = store.query(f"select id{listed} from score_set({literal(status.set_id)})")
    at = pool.places(table["id"])
    columns = []
    for name in names:
        values = np.full(len(pool), np.nan)
        values[at[at >= 0]] = table[name].to_numpy()[at >= 0]
        columns.append(
            ScoreColumn(
                status.set_id, status.alias, name, status.columns[name], values,
                meanings.get(name, ""),
            )
        )  # fmt: skip
    return Scored(status, columns, failures)


def lengths(pool: Pool, scored: Sequence[Scored]) -> tuple[Values, str]:
    """Return each example's length, and its unit: tokens if counted, else characters."""
    for one in reversed(scored):
        if one.status.scorer == LENGTH_SCORER and one.status.complete:
            parts = [one.column("prompt_tokens"), one.column("response_tokens")]
            total = np.sum([part.values for part in parts if part is not None], axis=0)
            if not np.isnan(total).all():
                return total, "tokens"
    return pool.n_chars.astype(np.float64), "characters"


def _meanings(scorer: str) -> dict[str, str]:
    try:
        return {name: column.meaning for name, column in get_scorer(scorer).outputs.items()}
    except ConfigError:
        return {}  # scored with a package that is not installed here


def _whole(column: "pa.ChunkedArray") -> Integers:
    return np.asarray(column.to_numpy(), dtype=np.int64)
