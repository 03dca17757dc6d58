"""Examples with their texts, as Arrow: some of them by id, or the first ones."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from curate.store.handle import StoreHandle

COLUMNS: Final = (
    "id", "source", "group_id", "n_rows", "n_chars", "prompt", "response", "messages",
)  # fmt: skip


def examples_by_id(store: StoreHandle, ids: Sequence[str]) -> pa.Table:
    """Return the examples with these full ids, in the same order; those not in the pool are left out."""
    listed = pa.table(
        {"id": pa.array(list(ids), pa.string()), "place": pa.array(range(len(ids)), pa.int64())}
    )
    columns = ", ".join(f"e.{name}" for name in COLUMNS)
    with store.connect() as con:
        con.register("asked", listed)
        table: pa.Table = con.sql(
            f"select {columns} from examples e join asked a on a.id = e.id order by a.place"
        ).to_arrow_table()
    return table


def first_examples(store: StoreHandle, limit: int | None) -> pa.Table:
    """Return the first examples as they were read, those of one prompt together; all without a limit."""
    cut = "" if limit is None else f"limit {int(limit)}"
    with store.connect() as con:
        ids = con.sql(f"select id from internal.examples order by row {cut}").fetchall()
    return examples_by_id(store, [example_id for (example_id,) in ids])
