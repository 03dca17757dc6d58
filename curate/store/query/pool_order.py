"""The pool in order of id: ids, groups and sources by place, and the place of each row number.

Reading them from the database and sorting them takes most of the time of a selection from millions of
examples, and they change with the pool alone. So a large pool's are kept in a file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.store import schema
from curate.store.handle import StoreHandle
from curate.store.ids import Ids, Rows, id_bytes, order
from curate.store.parts import atomic_path
from curate.store.records import canonical_json, digest

KEPT_FROM: Final = 100_000  # examples; sorting fewer takes less time than a file


@final
@dataclass(frozen=True, slots=True, eq=False)
class PoolOrder:
    """Facts of all examples, in order of id.

    Parameters
    ----------
    ids
        (n,).
    groups
        Dense codes in order of group id, (n,).
    sources
        Codes into ``source_names``, (n,).
    source_names
        In order.
    places
        Place of each row number of the database, (largest + 1,); -1 for numbers that are not there.
    """

    ids: Ids
    groups: Rows
    sources: Rows
    source_names: list[str]
    places: Rows

    def __len__(self) -> int:
        return len(self.ids)


def pool_order(store: StoreHandle, con: duckdb.DuckDBPyConnection) -> PoolOrder:
    """Return the order of the pool as it is now: read from its file, or sorted and kept there.

    O(n log n) and 200 bytes of memory an example the first time after a change; later the file is
    mapped into memory, of which nothing is read but what is used.
    """
    state = con.execute(
        "select count(*), coalesce(max(row), 0), coalesce(sum(row), 0)::varchar from internal.examples"
    ).fetchall()[0]
    if state[0] < KEPT_FROM:
        return _sorted(con)
    about = [*state, schema.meta(con, "created_at"), schema.meta(con, "pool_version")]
    paths = _paths(store.cache, digest(canonical_json(about), 8))
    if not all(path.exists() for path in paths.values()):
        made = _sorted(con)
        for earlier in store.cache.glob("pool-*.npy"):
            earlier.unlink(missing_ok=True)
        for name, path in paths.items():
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, getattr(made, name))
    kept = {name: np.load(path, mmap_mode="r") for name, path in paths.items()}
    return PoolOrder(**kept, source_names=_source_names(con))


def _paths(folder: Path, state: str) -> dict[str, Path]:
    names = ("ids", "groups", "sources", "places")
    return {name: folder / f"pool-{state}-{name}.npy" for name in names}


def _source_names(con: duckdb.DuckDBPyConnection) -> list[str]:
    rows = con.execute("select distinct source from internal.examples order by source").fetchall()
    return [name for (name,) in rows]


def _sorted(con: duckdb.DuckDBPyConnection) -> PoolOrder:
    table = con.sql("select row, id, group_id, source from internal.examples").to_arrow_table()
    ids = id_bytes(table["id"])
    by_id = order(ids)
    rows = table["row"].to_numpy()
    places = np.full(int(rows.max()) + 1 if len(rows) else 0, -1, dtype=np.int64)
    places[rows[by_id]] = np.arange(len(rows))
    names = _source_names(con)
    sources = pc.index_in(table["source"], pa.array(names, pa.string())).to_numpy()[by_id]
    groups = _dense(id_bytes(table["group_id"]))[by_id]
    return PoolOrder(ids[by_id], groups, sources.astype(np.int64), names, places)


def _dense(ids: Ids) -> Rows:
    """Return the rank of each id among the distinct ones."""
    by_id = order(ids)
    in_order = ids[by_id]
    codes = np.empty(len(ids), dtype=np.int64)
    codes[by_id] = np.cumsum(np.r_[False, in_order[1:] != in_order[:-1]])[: len(ids)]
    return codes
