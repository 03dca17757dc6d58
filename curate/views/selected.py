"""Stored selections within a snapshot: which of its rows each took, in order of rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store
    from curate.store.ids import Ids, Rows
    from curate.store.query.snapshot import Mask, Snapshot, Values


@final
@dataclass(frozen=True, slots=True, eq=False)
class SelectedRows:
    """A stored selection within a snapshot.

    Parameters
    ----------
    selection_id, method, budget, created_at
        From its record.
    ids
        Of each pick, best first, (k,).
    at
        Row of the snapshot of each pick, (k,); -1 where the example was deleted.
    gains, reasons
        Of each pick, (k,); NaN and null where there is none.
    """

    selection_id: str
    method: str
    budget: str | None
    created_at: str
    ids: "Ids"
    at: "Rows"
    gains: "Values"
    reasons: "pa.DictionaryArray"

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

    def names(self) -> list[str]:
        """Return the ids of its picks as text, best first."""
        return [name.decode("ascii") for name in self.ids.tolist()]


def read_selected(
    store: "Store", snapshot: "Snapshot", records: Sequence[Mapping[str, Any]]
) -> list[SelectedRows]:
    """Read the picks of stored selections in one query.

    Parameters
    ----------
    records
        Their selection_id, method, budget and created_at, as in the relation ``selections``.
    """
    import pyarrow as pa

    from curate.store.connection import literal
    from curate.store.ids import id_bytes

    number = {record["selection_id"]: k for k, record in enumerate(records)}
    table = store.query(
        "select selection_id, id, gain, reason from selection_rows where selection_id in "
        f"({', '.join(map(literal, number)) or 'null'}) order by selection_id, rank"
    ).combine_chunks()
    codes = table["selection_id"].combine_chunks().dictionary_encode()
    own = np.array([number[name] for name in codes.dictionary.to_pylist()], dtype=np.int64)
    of = own[codes.indices.to_numpy()]
    ids = id_bytes(table["id"])
    at = snapshot.places(ids)
    gains = table["gain"].to_numpy().astype(np.float64)
    reasons = table["reason"].combine_chunks().dictionary_encode()
    selections = []
    for k, record in enumerate(records):
        picks = np.flatnonzero(of == k)
        selections.append(
            SelectedRows(
                record["selection_id"], record["method"], record["budget"], record["created_at"],
                ids[picks], at[picks], gains[picks], reasons.take(pa.array(picks)),
            )
        )  # fmt: skip
    return selections


def no_picks(selection_id: str, method: str) -> SelectedRows:
    """Return a selection that took nothing, made at no time."""
    import pyarrow as pa

    none = np.zeros(0, dtype=np.int64)
    reasons = pa.array([], pa.string()).dictionary_encode()
    ids = np.zeros(0, dtype="S32")
    return SelectedRows(selection_id, method, None, "", ids, none, np.zeros(0), reasons)
