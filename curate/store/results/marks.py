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
        with its first example. ``reason`` in it becomes the reason of its rows.

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
            before = _ids(con, name)
            known = set(before)
            after = [i for i in before if i not in moved or name == to]
            after += [i for i in asked if name == to and i not in known]
            if after != before:
                full = {**record, "selection_id": name, **_counts(n_pool, len(after))}
                selections.write(store, con, full, _rows(after, str(record["reason"])))
            counts[name] = len(after)
    return counts


def _ids(con: duckdb.DuckDBPyConnection, selection_id: str) -> list[str]:
    rows = con.execute(
        "select id from selection_rows where selection_id = ? order by rank", [selection_id]
    ).fetchall()
    return [i for (i,) in rows]


def _refuse_unknown(con: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> None:
    asked = ", ".join("(?)" for _ in ids) or "(null)"
    unknown = con.execute(
        f"select id from (values {asked}) asked(id) where id is not null "
        "and id not in (select id from internal.examples) limit 1",
        list(ids),
    ).fetchall()
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


def _rows(ids: Sequence[str], reason: str) -> pa.Table:
    n = len(ids)
    return pa.table(
        {
            "id": pa.array(list(ids), pa.string()),
            "rank": pa.array(np.arange(1, n + 1), pa.int64()),
            "gain": pa.nulls(n, pa.float64()),
            "weight": pa.array(np.ones(n), pa.float64()),
            "reason": pa.array([reason] * n, pa.string()),
        }
    )
