"""The embedding map: examples in two dimensions, as points or, if there are many, as cells."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.algorithms.distinctive import distinctive_words
from curate.errors import DataError
from curate.views.charts.text import one_line, pieces
from curate.views.explore.points import Box, layout_words, mapped
from curate.views.explore.query import Query, numbers
from curate.views.explore.session import STORED, Session

if TYPE_CHECKING:
    from curate.store.ids import Rows
    from curate.store.query.projection import Points
    from curate.store.query.snapshot import Snapshot, Values

MOST_POINTS: Final = 4_000
CELLS: Final = (120, 90)  # across and down
CLUSTER: Final = "cluster"  # the column of cluster numbers, which are names and no amounts
MOST_NAMED: Final = 256  # clusters with names
NAMED_BY: Final = 24  # examples of each
NAMED_CHARS: Final = 400  # of each prompt
MOST_NAMES: Final = 7  # of a coloured text column; the others are one colour together


@final
@dataclass(frozen=True, slots=True)
class _Colour:
    """What colours a point: a value, or the code of a name with -1 for none."""

    values: "Values"
    names: list[str]

    @property
    def is_named(self) -> bool:
        return bool(self.names)


def embedding_map(
    session: Session, question: Query, embedding: str, colour: str, box: str = ""
) -> dict[str, Any]:
    """Return what to draw for the rows of a query.

    Up to `MOST_POINTS` in the box are points, ``[x, y, colour, id]``; more are cells of a grid,
    ``[column, row, n, colour]``, with the mean value or the most frequent name of the cell. Colours
    are numbers, or indices into ``names``. The projection is computed once for a state of the store.
    """
    snapshot = session.snapshot()
    points, rows = mapped(session, snapshot, embedding)
    if not len(rows):
        return {"embedding": embedding, "n": 0, "n_map": 0, "points": [], "box": [0, 0, 1, 1]}
    whole = session.remembered(("box", embedding), lambda: Box.around(points))
    frame = Box.parse(box) if box else whole
    colours = _colour(session, snapshot, colour)
    # Its own area is not applied, so that what lies around it can be seen and dragged over.
    meant = replace(question, area=None).mask(session, snapshot)[rows]
    x, y = points[:, 0], points[:, 1]
    if box:
        meant = meant & frame.holds(points)
    picked = np.flatnonzero(meant)
    answer: dict[str, Any] = {
        "embedding": embedding, "n": len(picked), "n_map": len(rows), "names": colours.names,
        "layout": layout_words(snapshot),
        "box": [frame.left, frame.bottom, frame.right, frame.top],
    }  # fmt: skip
    values = colours.values[rows[picked]]
    answer["range"] = _spread(values) if not colours.is_named else None
    if len(picked) <= MOST_POINTS:
        answer["points"] = [
            [float(a), float(b), _number(value), name]
            for a, b, value, name in zip(
                x[picked], y[picked], values.tolist(), snapshot.names(rows[picked]), strict=True
            )
        ]
        return answer
    return answer | {"cells": _cells(points[picked], frame, values, colours), "grid": list(CELLS)}


def _colour(session: Session, snapshot: "Snapshot", colour: str) -> _Colour:
    if not colour:
        return _Colour(np.full(len(snapshot), np.nan), [])
    return session.remembered(
        (STORED, "colour", colour), lambda: _coloured(session, snapshot, colour)
    )


def _coloured(session: Session, snapshot: "Snapshot", colour: str) -> _Colour:
    if colour.startswith("selection:"):
        picks = session.selection(colour.partition(":")[2])
        kept = picks.mask(len(snapshot))
        return _Colour(np.where(kept, 0.0, 1.0), ["kept", "not kept"])
    known = snapshot.columns.get(colour)
    if known is None:
        raise DataError(
            f"no column {colour!r} to colour by; available: {', '.join(snapshot.columns)}"
        )
    if known.kind == "number" and known.column != CLUSTER:
        return _Colour(snapshot.values(colour), [])
    if known.kind == "bool":
        return _Colour(1 - snapshot.values(colour), ["true", "false"])
    codes, kinds = snapshot.codes(colour)
    names = [str(kind) for kind in kinds]
    if known.column == CLUSTER:
        said = cluster_names(session, snapshot, colour)
        names = [f"{n} {said[float(n)]}" if float(n) in said else n for n in names]
    common = commonest(codes, names, MOST_NAMES)
    place = np.full(len(names) + 1, float(len(common)))
    place[common] = np.arange(len(common))
    place[-1] = np.nan
    labels = ["".join(pieces(one_line(names[k], 40))) for k in common]
    return _Colour(place[codes], labels + (["others"] if len(names) > len(common) else []))


def commonest(codes: "Rows", names: "Sequence[str]", most: int) -> list[int]:
    """Return the most frequent codes, the most frequent first; ties by name."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return heapq.nsmallest(most, range(len(names)), key=lambda k: (-counts[k], names[k]))


def cluster_names(session: Session, snapshot: "Snapshot", column: str) -> dict[float, str]:
    """Return a name of each of the largest clusters of the pool: its most distinctive words.

    They are those of the prompts of `NAMED_BY` of its examples, drawn evenly.
    """

    def make() -> dict[float, str]:
        values = numbers(session, snapshot, column)
        labels, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
        known = np.flatnonzero(np.isfinite(labels))
        largest = known[np.argsort(-sizes[known], kind="stable")[:MOST_NAMED]]
        by_label = np.argsort(inverse, kind="stable")
        starts = np.searchsorted(inverse[by_label], largest)
        drawn = [
            by_label[start + np.linspace(0, sizes[k] - 1, min(sizes[k], NAMED_BY)).astype(np.int64)]
            for k, start in zip(largest.tolist(), starts.tolist(), strict=True)
        ]
        rows = np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64)
        groups = np.repeat(np.arange(len(drawn)), [len(part) for part in drawn]).tolist()
        texts = [text.prompt for text in snapshot.previews(rows, NAMED_CHARS)]
        words = distinctive_words(texts, groups, len(drawn))
        return {
            float(labels[k]): ", ".join(found)
            for k, found in zip(largest.tolist(), words, strict=True)
            if found
        }

    return session.remembered(("cluster names", column), make)


def _cells(points: "Points", box: Box, values: "Values", colours: _Colour) -> list[list[Any]]:
    across, down = CELLS
    x = ((points[:, 0] - box.left) / (box.right - box.left) * across).astype(np.int64)
    y = ((points[:, 1] - box.bottom) / (box.top - box.bottom) * down).astype(np.int64)
    cell = np.clip(y, 0, down - 1) * across + np.clip(x, 0, across - 1)
    counts = np.bincount(cell, minlength=across * down)
    known = np.isfinite(values)
    if colours.is_named:
        k = len(colours.names)
        by_name = np.bincount(
            cell[known] * k + values[known].astype(np.int64), minlength=across * down * k
        ).reshape(-1, k)
        colour = np.where(by_name.any(axis=1), by_name.argmax(axis=1), np.nan)
    else:
        n = np.bincount(cell[known], minlength=across * down)
        total = np.bincount(cell[known], values[known], minlength=across * down)
        colour = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    filled = np.flatnonzero(counts)
    return [
        [c % across, c // across, n, _number(value)]
        for c, n, value in zip(
            filled.tolist(), counts[filled].tolist(), colour[filled].tolist(), strict=True
        )
    ]


def _spread(values: "Values") -> list[float] | None:
    """Return the 2% and 98% quantiles, between which colours change."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.quantile(finite, [0.02, 0.98]).tolist()
    return [low, high]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
