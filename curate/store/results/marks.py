"""Mutually exclusive selections, changed example by example in one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from curate.errors import DataError
from curate.store.handle import StoreHandle
from curate.store.results import selections
from curate.store.schema import scalar


def move(
    store: StoreHandle, ids: Sequence[str], to: str | None, among: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Put examples into one of several selections and take them out of the others.

    Parameters
    ----------
    ids
        Examples of the pool; `DataError` for any other, and nothing changes then.
    to
        Id of the selection to append them to; None removes them from all.
    among
        Record of each selection by its id, without counts; one that does not exist yet is created
        with its first example. ``reason`` in it becomes the reason of the rows of ``ids``.

    Returns
    -------
    How many examples each of the selections then has.
    """
    asked = list(dict.fromkeys(ids))
    moved = set(asked)
    counts: dict[str, int] = {}
    with store.write() as con:
        _refuse_unknown(con, asked)
        n_pool = scalar(con, "select count(*) from internal.examples")
        for name, record in among.items():
            before = _reasons(con, name)
            after = {i: why for i, why in before.items() if i not in moved or name == to}
            after |= dict.fromkeys(asked if name == to else (), str(record["reason"]))
            if after != before:
                full = {**record, "selection_id": name, **_counts(n_pool, len(after))}
                del full["reason"]
                selections.write(store, con, full, _rows(after))
            counts[name] = len(after)
    return counts


def _reasons(con: duckdb.DuckDBPyConnection, selection_id: str) -> dict[str, str]:
    """Return the reason of each example of a selection, in order of rank."""
    rows = con.execute(
        "select id, reason from selection_rows where selection_id = ? order by rank", [selection_id]
    ).fetchall()
    return dict(rows)


def _refuse_unknown(con: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> None:
    con.register("asked", pa.table({"id": pa.array(ids, pa.string())}))
    unknown = con.execute(
        "select id from asked where id not in (select id from internal.examples) limit 1"
    ).fetchall()
    con.unregister("asked")
    if unknown:
        raise DataError(
            f"no example {unknown[0][0]!r} in the pool, so it cannot be marked; it may have been "
            "forgotten since it was shown"
        )


def _counts(n_pool: int, n_selected: int) -> dict[str, Any]:
    counts = {
        "n_pool": n_pool, "n_eligible": n_pool, "n_excluded": {}, "n_selected": n_selected,
        "n_tokens": None,
    }  # fmt: skip
    return {**counts, "counts": counts}


def _rows(reasons: Mapping[str, str]) -> pa.Table:
    n = len(reasons)
    return pa.table(
        {
            "id": pa.array(list(reasons), pa.string()),
            "rank": pa.array(np.arange(1, n + 1), pa.int64()),
            "gain": pa.nulls(n, pa.float64()),
            "weight": pa.array(np.ones(n), pa.float64()),
            "reason": pa.array(list(reasons.values()), pa.string()),
        }
    )
