"""Stored selections within a snapshot: which of its rows each took, in order of rank."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store
    from curate.store.ids import Ids, Rows
    from curate.store.query.snapshot import Mask, Snapshot, Values


@dataclass(frozen=True, slots=True, eq=False)
class SelectedRows:
    """A stored selection within a snapshot.

    Parameters
    ----------
    selection_id, method, budget, created_at
        From its record.
    at
        Row of the snapshot of each pick, best first, (k,); -1 where the example was deleted.
    """

    selection_id: str
    method: str
    budget: str | None
    created_at: str
    at: "Rows"

    @property
    def name(self) -> str:
        """Method and budget, for headings."""
        return " ".join(part for part in (self.method, self.budget) if part)

    @property
    def rows(self) -> "Rows":
        """Rows of the snapshot it took, in order of rank."""
        return self.at[self.at >= 0]

    @property
    def n_deleted(self) -> int:
        """Picks that are no longer in the pool."""
        return int((self.at < 0).sum())

    def mask(self, n: int) -> "Mask":
        """Return which of the snapshot's n rows it took, (n,)."""
        mask = np.zeros(n, dtype=bool)
        mask[self.rows] = True
        return mask


@final
@dataclass(frozen=True, slots=True, eq=False)
class Picks(SelectedRows):
    """A stored selection within a snapshot, with what it says about each pick.

    Parameters
    ----------
    ids
        Of each pick, best first, (k,).
    gains, reasons
        Of each pick, (k,); NaN and null where there is none.
    """

    ids: "Ids"
    gains: "Values"
    reasons: "pa.DictionaryArray"

    def names(self) -> list[str]:
        """Return the ids of its picks as text, best first."""
        return [name.decode("ascii") for name in self.ids.tolist()]


def distinct_names(selections: Sequence[SelectedRows]) -> list[str]:
    """Return the name of each; those that are alike are numbered, oldest first: ``random 10% (2 of 3)``."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for chosen in selections:
        alike.setdefault(chosen.name, []).append((chosen.created_at, chosen.selection_id))
    names = []
    for chosen in selections:
        known = sorted(alike[chosen.name])
        place = known.index((chosen.created_at, chosen.selection_id)) + 1
        names.append(chosen.name + (f" ({place} of {len(known)})" if len(known) > 1 else ""))
    return names


def read_selected(
    store: "Store", snapshot: "Snapshot", records: Sequence[Mapping[str, Any]]
) -> list[SelectedRows]:
    """Read which rows stored selections took, in one query.

    Parameters
    ----------
    records
        Their selection_id, method, budget and created_at, as in the relation ``selections``.
    """
    table, places = _read(store, records, "id")
    at = snapshot.places(_ids(table))
    return [SelectedRows(*_facts(record), at[places(k)]) for k, record in enumerate(records)]


def read_picks(
    store: "Store", snapshot: "Snapshot", records: Sequence[Mapping[str, Any]]
) -> list[Picks]:
    """Read the picks of stored selections, with gains and reasons, in one query."""
    import pyarrow as pa

    table, places = _read(store, records, "id, gain, reason")
    ids = _ids(table)
    at = snapshot.places(ids)
    gains = table["gain"].to_numpy().astype(np.float64)
    reasons = table["reason"].combine_chunks().dictionary_encode()
    picks = []
    for k, record in enumerate(records):
        own = places(k)
        picks.append(
            Picks(*_facts(record), at[own], ids[own], gains[own], reasons.take(pa.array(own)))
        )
    return picks


def _facts(record: Mapping[str, Any]) -> tuple[str, str, str | None, str]:
    return record["selection_id"], record["method"], record["budget"], record["created_at"]


def _ids(table: "pa.Table") -> "Ids":
    from curate.store.ids import id_bytes

    return id_bytes(table["id"])


def _read(
    store: "Store", records: Sequence[Mapping[str, Any]], columns: str
) -> "tuple[pa.Table, Callable[[int], Rows]]":
    """Return columns of the rows of selections, and which of these rows are those of each."""
    from curate.store.connection import literal

    number = {record["selection_id"]: k for k, record in enumerate(records)}
    table = store.read(
        f"select selection_id, {columns} from selection_rows where selection_id in "
        f"({', '.join(map(literal, number)) or 'null'}) order by selection_id, rank"
    ).combine_chunks()
    codes = table["selection_id"].combine_chunks().dictionary_encode()
    own = np.array([number[name] for name in codes.dictionary.to_pylist()], dtype=np.int64)
    of = own[codes.indices.to_numpy()]
    return table, lambda k: np.flatnonzero(of == k)
