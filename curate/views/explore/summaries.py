"""Summaries for the page: the pool's columns, its clusters, and two selections compared."""

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.errors import ConfigError
from curate.registry import get_scorer
from curate.select.marks import METHOD, label_id, marks_id, notes_id
from curate.views.charts.text import one_line, pieces
from curate.views.explore.embedding_map import CLUSTER, cluster_names, commonest
from curate.views.explore.points import embeddings
from curate.views.explore.query import Part, Query, numbers
from curate.views.explore.rows import previews
from curate.views.explore.session import Session

if TYPE_CHECKING:
    from curate.store.query.snapshot import Mask, Snapshot

MOST_CLUSTERS: Final = 60
MOST_SOURCES: Final = 12


def pool(session: Session) -> dict[str, Any]:
    """Return what the page needs at its start: columns, selections, embeddings, marks."""
    snapshot = session.snapshot()
    marks = session.marks()
    return {
        "store": session.store.path.name,
        "n_pool": len(snapshot),
        "n_sources": len(snapshot.codes("source")[1]),
        "marker": session.marker,
        "marks": {
            mark: {"n": list(marks.values()).count(mark), "id": marks_id(session.marker, mark)}
            for mark in ("in", "out")
        },
        "labels": [
            {"name": label, "n": n, "id": label_id(session.marker, label)}
            for label, n in sorted(Counter(chain(*session.labels().values())).items())
        ],
        "notes": {"n": len(session.notes()), "id": notes_id(session.marker)},
        "columns": [
            {"name": name, "kind": column.kind, "score": column.shape is not None}
            for name, column in snapshot.columns.items()
        ],
        "embeddings": embeddings(snapshot),
        "clusters": [name for name, column in snapshot.columns.items() if column.column == CLUSTER],
        "selections": [
            {
                "id": selection.selection_id, "method": selection.method,
                "budget": selection.budget, "n": len(selection.rows),
                "n_gone": selection.n_deleted, "created_at": selection.created_at[:16],
                "is_marks": selection.method == METHOD,
            }
            for selection in reversed(session.selections())
        ],
        "notice": session.notice,
    }  # fmt: skip


def clusters(session: Session, question: Query, column: str, sort: str) -> dict[str, Any]:
    """Return the largest clusters among the rows of a query, each with a typical example.

    The example is the one nearest to the centroid if the distance is stored, else the first. ``name``
    are the cluster's most distinctive words.
    ``mean`` is that of the column ``sort``, if given.
    """
    snapshot = session.snapshot()
    values = numbers(session, snapshot, column)
    meant = question.mask(session, snapshot) & np.isfinite(values)
    rows = np.flatnonzero(meant)
    labels, inverse, sizes = np.unique(values[rows], return_inverse=True, return_counts=True)
    everything, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    in_pool = dict(zip(everything.tolist(), counts.tolist(), strict=True))
    distance = f"{column.rpartition('.')[0]}.distance"
    known = distance in snapshot.columns
    near = numbers(session, snapshot, distance)[rows] if known else np.zeros(len(rows))
    by_cluster = np.lexsort((near, inverse))
    starts = np.searchsorted(inverse[by_cluster], np.arange(len(labels)))
    largest = np.argsort(-sizes, kind="stable")[:MOST_CLUSTERS]
    typical = snapshot.names(rows[by_cluster[starts[largest]]])
    texts = previews(session, typical)
    words = cluster_names(session, snapshot, column)
    means = _means_by(session, snapshot, sort, rows, inverse, len(labels))
    return {
        "column": column,
        "n": len(labels),
        "clusters": [
            {
                "cluster": labels[k], "n": int(sizes[k]), "n_pool": in_pool[float(labels[k])],
                "mean": means[k], "id": name, "text": texts[name]["prompt"],
                "name": pieces(words.get(float(labels[k]), "")),
            }
            for k, name in zip(largest.tolist(), typical, strict=True)
        ],
    }  # fmt: skip


def comparison(session: Session, a: str, b: str) -> dict[str, Any]:
    """Return how two selections overlap, and the mean of each score in each part of them."""
    snapshot = session.snapshot()
    picks = [session.selection(selection_id) for selection_id in (a, b)]
    names: tuple[Part, ...] = ("both", "only-a", "only-b", "neither")
    masks: dict[str, Mask] = {
        name: Query(a=picks[0].selection_id, b=picks[1].selection_id, part=name).mask(
            session, snapshot
        )
        for name in names
    }
    either = ~masks["neither"]
    n_both, n_either = int(masks["both"].sum()), int(either.sum())
    scores = [
        name
        for name, column in snapshot.columns.items()
        if column.kind in ("number", "bool")
        and (column.shape is not None or name == "n_chars")
        and column.column != CLUSTER
    ]
    return {
        "a": picks[0].selection_id,
        "b": picks[1].selection_id,
        "n": {name: int(mask.sum()) for name, mask in masks.items()},
        "n_gone": [pick.n_deleted for pick in picks],
        "jaccard": n_both / n_either if n_either else None,
        "means": [
            {"column": name} | _means(numbers(session, snapshot, name), masks) for name in scores
        ],
        "sources": _sources(snapshot, masks),
    }


def _means(values: Any, masks: "dict[str, Mask]") -> dict[str, float | None]:
    def mean(mask: "Mask") -> float | None:
        kept = values[mask & np.isfinite(values)]
        return float(kept.mean()) if len(kept) else None

    everything = np.ones(len(values), dtype=bool)
    return {name: mean(mask) for name, mask in {**masks, "pool": everything}.items()}


def _means_by(
    session: Session, snapshot: "Snapshot", sort: str, rows: Any, inverse: Any, n: int
) -> list[float | None]:
    known = snapshot.columns.get(sort)
    if known is None or known.kind != "number":
        return [None] * n
    values = numbers(session, snapshot, sort)[rows]
    finite = np.isfinite(values)
    counts = np.bincount(inverse[finite], minlength=n)
    totals = np.bincount(inverse[finite], values[finite], minlength=n)
    return [float(t / c) if c else None for t, c in zip(totals, counts, strict=True)]


def _sources(snapshot: "Snapshot", masks: "dict[str, Mask]") -> list[dict[str, Any]]:
    codes, names = snapshot.codes("source")
    counts = {
        name: np.bincount(codes[mask & (codes >= 0)], minlength=len(names))
        for name, mask in masks.items()
    }
    total = np.bincount(codes[codes >= 0], minlength=len(names))
    return [
        {"source": pieces(one_line(names[k], 60)), "pool": int(total[k])}
        | {name: int(by_source[k]) for name, by_source in counts.items()}
        for k in commonest(codes, names, MOST_SOURCES)
    ]


def meanings(session: Session) -> dict[str, str]:
    """Return what each score column means, by name, if its scorer is installed here."""
    snapshot = session.snapshot()
    scorers = session.store.read("select set_id, scorer from score_sets").to_pylist()
    by_set = {row["set_id"]: row["scorer"] for row in scorers}
    by_column = {}
    for name, column in snapshot.columns.items():
        if column.shape is None:
            continue
        try:
            outputs = get_scorer(by_set[column.shape.set_id]).outputs
        except ConfigError:
            continue  # scored with a package that is not installed here
        if column.column in outputs:
            by_column[name] = outputs[column.column].meaning
    return by_column
