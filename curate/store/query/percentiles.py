"""How the scores of one example rank within the pool."""

from typing import Final

import duckdb

from curate.store.connection import identifier
from curate.store.handle import StoreHandle
from curate.store.schema import SetShape, set_shapes
from curate.store.scores import names as set_names

_NUMBERS: Final = ("float", "int")


def percentiles(store: StoreHandle, example_id: str) -> dict[str, dict[str, float]]:
    """Return the percentile of each number the example has, by alias and column.

    Over the score sets that are complete for the pool, under the names of `Store.example`. A percentile is the share, from 0 to 100, of the scored examples with a smaller value,
    half of those with an equal one counted as smaller. One scan of each column, O(n).
    """
    by_alias: dict[str, dict[str, float]] = {}
    with store.connect() as con:
        complete = [shape for shape in set_shapes(con) if shape.complete]
        for alias, shape in set_names.distinct(complete).items():
            ranks = _of_set(con, shape, example_id)
            if ranks:
                by_alias[alias] = ranks
    return by_alias


def _of_set(con: duckdb.DuckDBPyConnection, shape: SetShape, example_id: str) -> dict[str, float]:
    names = [name for name, dtype in shape.columns.items() if dtype in _NUMBERS]
    if not names:
        return {}
    columns = ", ".join(f"t.{identifier(name)}" for name in names)
    rows = con.execute(
        f"select {columns} from {shape.table} t join internal.examples e on e.row = t.row "
        "where e.id = ?",
        [example_id],
    ).fetchall()
    known = (
        [(n, value) for n, value in zip(names, rows[0], strict=True) if value is not None]
        if rows
        else []
    )
    if not known:
        return {}
    ranks = ", ".join(
        f"100.0 * (count(*) filter ({identifier(name)} < ?) "
        f"+ 0.5 * count(*) filter ({identifier(name)} = ?)) / count({identifier(name)})"
        for name, _ in known
    )
    values = [value for _, value in known for _ in range(2)]
    (row,) = con.execute(f"select {ranks} from {shape.table}", values).fetchall()
    return {name: float(rank) for (name, _), rank in zip(known, row, strict=True)}
