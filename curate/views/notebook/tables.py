"""Examples and scores of a pool as rows: which ones, in which order, with which columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from curate.data.message_column import with_message_lists
from curate.errors import ConfigError, MissingColumnError
from curate.views.notebook.columns import complete_sets, refuse_ambiguous, score_columns
from curate.views.notebook.rows import Rows

if TYPE_CHECKING:
    from curate.store import Store

_LISTS = ("floats", "ints", "vector")


def example_rows(
    store: "Store", where: str | None, ids: Sequence[str] | None, by: str | None, limit: int | None
) -> Rows:
    """Return examples with their texts; see `Pool.examples`."""
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, got {limit}; leave it out for all examples")
    asked = None if ids is None else store.resolve_ids([ids] if isinstance(ids, str) else ids)
    if where is None and by is None:
        table = (
            store.first_examples(limit) if asked is None else store.examples_by_id(asked[:limit])
        )
        return Rows(with_message_lists(table), "examples")
    view = store.view(bind={}, expressions={} if by is None else {"by": by}, where=where)
    rows = np.arange(len(view))
    if by is not None:
        rows = np.argsort(-view.scores("by"), kind="stable")
    matching = [encoded.decode("ascii") for encoded in view.ids[rows].tolist()]
    kept = list(range(len(matching)))
    if asked is not None:
        place = {example_id: k for k, example_id in enumerate(matching)}
        kept = [place[example_id] for example_id in asked if example_id in place]
        kept = sorted(kept) if by is not None else kept
    chosen = kept[:limit]
    table = store.examples_by_id([matching[k] for k in chosen])
    if by is not None and by not in table.column_names:
        import pyarrow as pa

        table = table.add_column(1, by, pa.array(view.scores("by")[rows[chosen]]))
    return Rows(with_message_lists(table), "examples")


def score_rows(store: "Store", aliases: Sequence[str], vectors: bool) -> Rows:
    """Return the score columns of every example; see `Pool.scores`."""
    from curate.store.connection import identifier, literal

    sets = complete_sets(store)
    for alias in aliases:
        if alias not in sets:
            refuse_ambiguous(store, alias)
            raise MissingColumnError(
                f"the pool has no complete scores {alias!r} (it has: {', '.join(sets) or 'none'}); "
                f"score it first: pool.score({alias!r}, model=MODEL)"
            )
    if not sets:
        score_columns(store)  # raises, and says how to score
    read = [sets[alias] for alias in aliases or sets]
    columns = [
        f"s{k}.{identifier(name)} as {identifier(f'{alias}.{name}')}"
        for k, alias in enumerate(aliases or sets)
        for name, dtype in sets[alias].columns.items()
        if vectors or dtype not in _LISTS
    ]
    listed = ", ".join(["e.id", "e.source", *columns])
    joined = "".join(
        f" left join score_set({literal(status.set_id)}) s{k} on s{k}.id = e.id"
        for k, status in enumerate(read)
    )
    query = f"select {listed} from examples e{joined} order by e.id"
    return Rows(store.read(query), "examples")
