"""The table: one page of rows, and the histogram of a column."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.errors import ConfigError
from curate.views.charts.numbers import bin_counts, bin_edges, tick_text, ticks
from curate.views.charts.text import one_line, pieces
from curate.views.explore.query import Query, first_rows, numbers
from curate.views.explore.session import Session

if TYPE_CHECKING:
    from curate.store.ids import Rows
    from curate.store.query.snapshot import Snapshot

MOST_ROWS: Final = 200
PREVIEW: Final = 280


def page(
    session: Session,
    question: Query,
    columns: Sequence[str],
    sort: str,
    descending: bool,
    offset: int,
    limit: int,
) -> dict[str, Any]:
    """Return one page of the rows of a query, without their texts; see `previews`."""
    if not 1 <= limit <= MOST_ROWS or offset < 0:
        raise ConfigError(f"a page has 1 to {MOST_ROWS} rows from 0 on, got {limit} from {offset}")
    snapshot = session.snapshot()
    n, rows = first_rows(session, question, sort, descending, offset, limit)
    return {
        "n": n,
        "n_pool": len(snapshot),
        "offset": offset,
        "rows": described(session, snapshot, rows, columns),
        "where": question.expression(snapshot.shapes),
    }


def described(
    session: Session, snapshot: "Snapshot", rows: "Rows", columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Return id, source, mark, labels, whether it has a note, and some columns of each row."""
    import pyarrow as pa

    marks, labels, notes = session.marks(), session.labels(), session.notes()
    taken = pa.array(rows)
    sources = snapshot.array("source").take(taken).to_pylist()
    by_column = {name: snapshot.array(name).take(taken).to_pylist() for name in columns}
    return [
        {
            "id": name,
            "source": pieces(one_line(sources[k] or "", 60)),
            "mark": marks.get(name),
            "labels": labels.get(name, []),
            "noted": name in notes,
            "values": {column: shown(values[k]) for column, values in by_column.items()},
        }
        for k, name in enumerate(snapshot.names(rows))
    ]


def previews(session: Session, ids: Sequence[str]) -> dict[str, Any]:
    """Return the beginnings of prompt and response of some examples, hidden characters named."""
    if len(ids) > MOST_ROWS:
        raise ConfigError(f"at most {MOST_ROWS} texts at a time, got {len(ids)}")
    snapshot = session.snapshot()
    rows = np.array([snapshot.place(i) for i in ids], dtype=np.int64)
    texts = snapshot.previews(rows, 4 * PREVIEW)
    return {
        i: {"prompt": _beginning(text.prompt), "response": _beginning(text.response)}
        for i, text in zip(ids, texts, strict=True)
    }


def histogram(session: Session, question: Query, column: str) -> dict[str, Any]:
    """Return bins of a column: counts over the whole pool, and over the rows of a query.

    ``counts`` and ``kept`` have one entry a bin; ``edges`` one more. A range of the query on the
    same column is not applied, so that it can be brushed again.
    """
    snapshot = session.snapshot()
    values = numbers(session, snapshot, column)
    known = np.isfinite(values)
    if not known.any():
        return {"column": column, "edges": [], "counts": [], "kept": [], "ticks": [], "n": 0}
    finite = values[known]
    edges = session.remembered(("edges", column), lambda: bin_edges(finite))
    everything = session.remembered(("bins", column), lambda: bin_counts(finite, edges))
    others = replace(
        question, ranges=tuple(bounds for bounds in question.ranges if bounds.column != column)
    )
    kept = bin_counts(values[known & others.mask(session, snapshot)], edges)
    low, high = float(edges[0]), float(edges[-1])
    at = ticks(low, high, 5)
    return {
        "column": column,
        "edges": edges.tolist(),
        "counts": everything.counts.tolist(),
        "kept": kept.counts.tolist(),
        "n": everything.n,
        "n_kept": kept.n,
        "outside": everything.n_below + everything.n_above,
        "low": float(finite.min()),
        "high": float(finite.max()),
        "ticks": list(zip(at, tick_text(at), strict=True)),
    }


def shown(value: Any) -> Any:
    """Return a value as JSON: for a text, its beginning with hidden characters named."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return pieces(one_line(value, 80)) if isinstance(value, str) else value


def _beginning(text: str) -> list[str]:
    return pieces(one_line(text, PREVIEW))
