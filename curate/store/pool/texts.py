"""Examples with their texts, as Arrow: some of them by id, or the first ones."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from curate.contracts import Example
from curate.contracts.view import TextBlock
from curate.errors import DataError, ExampleFailure, StoreError
from curate.models.text.templates import history_and_response
from curate.store.handle import StoreHandle
from curate.store.ids import Ids, Lookup, id_bytes, order
from curate.store.parts import open_parquet
from curate.store.pool import examples

COLUMNS: Final = (
    "id", "source", "group_id", "n_rows", "n_chars", "prompt", "response", "messages",
)  # fmt: skip
BLOCK_ROWS: Final = 4_096


def text_blocks(store: StoreHandle, ids: Ids) -> Iterator[TextBlock]:
    """Yield history and last turn of examples, with their places in ``ids``, in the order of the pool.

    The texts are those that row scorers read, made from the messages: the columns ``prompt`` and
    ``response`` are for the eye and name the roles. Reads every shard once, in blocks. Raises
    `DataError` for an example without a text form, `StoreError` at the end if some were forgotten
    meanwhile.
    """
    n_found = 0
    by_id = order(ids)
    place = Lookup(ids[by_id])
    for shard in examples.shards(store, None):
        with open_parquet(shard.path) as file:
            for batch in file.iter_batches(BLOCK_ROWS, columns=["id", "messages", "tools"]):
                at = place(id_bytes(batch["id"]))
                wanted = np.flatnonzero(at >= 0)
                if len(wanted):
                    rows = batch.take(pa.array(wanted)).to_pylist()
                    prompts, responses = zip(*map(_texts, rows), strict=True)
                    n_found += len(wanted)
                    yield by_id[at[wanted]], prompts, responses
    if n_found < len(ids):
        raise StoreError(
            f"{len(ids) - n_found} of {len(ids)} examples were forgotten while their texts were "
            "read; run the same command again"
        )


def _texts(row: dict[str, Any]) -> tuple[str, str]:
    """Return history and last turn of one row of a shard."""
    tools = tuple(json.loads(row["tools"])) if row["tools"] else None
    try:
        return history_and_response(Example(row["id"], tuple(json.loads(row["messages"])), tools))
    except ExampleFailure as failure:
        raise DataError(
            f"example {row['id']} has no text form ({failure.reason}), but its text is compared "
            f"with others; remove it: curate forget --where \"id = '{row['id']}'\""
        ) from None


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
