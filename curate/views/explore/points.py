"""Where the examples lie on the map, and areas of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from curate.errors import ConfigError, DataError
from curate.store.query.projection import best_layout
from curate.views.explore.session import Session

if TYPE_CHECKING:
    from curate.store.ids import Rows
    from curate.store.query.projection import Points
    from curate.store.query.snapshot import Mask, Snapshot


@final
@dataclass(frozen=True, slots=True)
class Box:
    """The part of the map in view."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def parse(cls, text: str) -> "Box":
        """Read ``left,bottom,right,top``; `ConfigError` for anything else."""
        try:
            left, bottom, right, top = (float(part) for part in text.split(","))
        except ValueError:
            left = bottom = right = top = 0.0
        if not (np.isfinite([left, bottom, right, top]).all() and left < right and bottom < top):
            raise ConfigError(f"a box must be LEFT,BOTTOM,RIGHT,TOP, got {text!r}")
        return cls(left, bottom, right, top)

    @classmethod
    def around(cls, points: "Points") -> "Box":
        """Return the smallest box with some room that holds the points."""
        low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
        room = np.where(high > low, 0.03 * (high - low), 0.5)
        (left, bottom), (right, top) = low - room, high + room
        return cls(float(left), float(bottom), float(right), float(top))

    def holds(self, points: "Points") -> "Mask":
        """Return which points, (m, 2), lie in it, (m,)."""
        x, y = points[:, 0], points[:, 1]
        inside: Mask = (x >= self.left) & (x <= self.right) & (y >= self.bottom) & (y <= self.top)
        return inside


@final
@dataclass(frozen=True, slots=True)
class Area:
    """A part of the map of one embedding that was dragged over, its edges included."""

    embedding: str
    box: Box

    @classmethod
    def parse(cls, text: str) -> "Area":
        """Read ``embedding:left,bottom,right,top``; `ConfigError` for anything else."""
        embedding, _, box = text.rpartition(":")
        if not embedding:
            raise ConfigError(
                f"an area of the map must be EMBEDDING:LEFT,BOTTOM,RIGHT,TOP, got {text!r}"
            )
        return cls(embedding, Box.parse(box))

    def mask(self, session: Session, snapshot: "Snapshot") -> "Mask":
        """Return which rows of the snapshot lie in it, (n,); those without a vector do not."""
        points, rows = mapped(session, snapshot, self.embedding)
        mask = np.zeros(len(snapshot), dtype=bool)
        mask[rows[self.box.holds(points)]] = True
        return mask


def embeddings(snapshot: "Snapshot") -> list[str]:
    """Return the vector columns that can be mapped, as ``alias.column``."""
    return [f"{alias}.{name}" for alias, shape in snapshot.shapes.items() for name in shape.vectors]


def layout_words(snapshot: "Snapshot") -> str:
    """Say how the map places examples."""
    if best_layout(len(snapshot)) == "umap":
        return "UMAP, which keeps neighbours together"
    return "its first two principal components (install umap-learn for UMAP)"


def mapped(session: Session, snapshot: "Snapshot", embedding: str) -> "tuple[Points, Rows]":
    """Return the points of an embedding's map, (m, 2), and their rows of the snapshot, (m,).

    `DataError` if the store has no such embedding.
    """
    return session.remembered(("points", embedding), lambda: _points(session, snapshot, embedding))


def _points(session: Session, snapshot: "Snapshot", embedding: str) -> "tuple[Points, Rows]":
    alias, _, column = embedding.rpartition(".")
    shape = snapshot.shapes.get(alias)
    if shape is None or column not in shape.vectors:
        known = (
            ", ".join(embeddings(snapshot)) or "none; compute one: curate score --scorer embedding"
        )
        raise DataError(f"no embedding {embedding!r} in the store; available: {known}")
    points, ids = session.store.projected(shape.set_id, column, best_layout(len(snapshot)))
    rows = snapshot.places(ids)
    known_rows = (rows >= 0) & np.isfinite(points).all(axis=1)
    return points[known_rows], rows[known_rows]
