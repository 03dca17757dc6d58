"""Exact cosine search over stored vectors by blocks: nearest in a target set, nearest of those kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.algorithms.directions import (
    CACHED_ROWS,
    lengths_of,
    part_of,
    unit_rows,
    without_direction,
)
from curate.contracts.view import Vectors, View
from curate.errors import ConfigError

BLOCK_ROWS: Final = 4_096
DOUBT: Final = 1e-4  # beyond what a cosine in single precision can be off, for 800 components


@final
@dataclass(frozen=True, eq=False)
class TargetCosines:
    """Cosines between stored vectors of a pool and those of a target set; see `by_turns`.

    Parameters
    ----------
    vectors
        Of the candidates: finite, longer than 0, (n, dim).
    lengths
        Their Euclidean lengths, (n,).
    units
        Vectors of the target examples, scaled to length 1, (m, dim).
    rows
        Row of the view that each candidate is, ascending, (n,).
    targets
        Row of the target's view that each target example is, (m,).
    excluded, warnings
        Candidates that were left out, by reason, and target examples, in words.
    """

    vectors: Vectors
    lengths: Float[np.ndarray, " n"]
    units: Float[np.ndarray, "m dim"]
    rows: Int[np.ndarray, " n"]
    targets: Int[np.ndarray, " m"]
    excluded: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, view: View, column: str) -> "TargetCosines":
        """Return those of a vector column of a view and of its target set, O((n + m) dim).

        Vectors that are not finite, or of length 0, have no cosine. Raises `ConfigError` if none is
        left on either side.
        """
        stored, beside = view.vectors(column), view.towards().vectors(column)
        if stored.dim != beside.dim:
            raise ConfigError(
                f"column {column!r} has {stored.dim} components in the pool and {beside.dim} in the "
                "target set; score both with one model"
            )
        lengths, targets = lengths_of(stored), lengths_of(beside)
        rows, useful = (np.flatnonzero(np.isfinite(of) & (of > 0)) for of in (lengths, targets))
        for kept, whose in ((rows, "the pool"), (useful, "the target set")):
            if not len(kept):
                raise ConfigError(
                    f"no vector {column!r} of {whose} is finite and longer than 0, so there is no "
                    "cosine; score again with another model"
                )
        own = beside.take(useful).astype(np.float64)
        lost = len(beside) - len(useful)
        warnings = (
            (
                f"{lost:,} of {len(beside):,} target examples have a vector of length 0 or not finite",
            )
            if lost
            else ()
        )
        return cls(
            vectors=part_of(stored, rows),
            lengths=lengths[rows],
            units=own / targets[useful, None],
            rows=rows,
            targets=useful,
            excluded={
                reason: int(lacking.sum())
                for reason, lacking in without_direction(lengths).items()
                if lacking.any()
            },
            warnings=warnings,
        )

    @property
    def n_rows(self) -> int:
        """Number of candidates."""
        return len(self.rows)

    @property
    def n_targets(self) -> int:
        """Number of target examples."""
        return len(self.units)

    def block(
        self, rows: Int[np.ndarray, " b"], targets: Int[np.ndarray, " t"]
    ) -> Float[np.ndarray, "b t"]:
        """Return the cosines of some candidates with some target examples, in double precision."""
        units = self.units[targets]
        cosines = np.empty((len(rows), len(targets)))
        for start in range(0, len(rows), CACHED_ROWS):
            some = rows[start : start + CACHED_ROWS]
            here = cosines[start : start + CACHED_ROWS]
            np.matmul(self.vectors.take(some).astype(np.float64), units.T, out=here)
            here /= self.lengths[some, None]
        return cosines


def apart(
    vectors: Vectors, ranking: Int[np.ndarray, " n"], threshold: float, limit: int | None = None
) -> Int[np.ndarray, " k"]:
    """Go through a ranking and keep what is not nearer than a threshold to anything kept before.

    Exactly as one by one: a row is kept unless its cosine with some row kept before it is above the
    threshold. Cosines are computed in single precision by blocks, and again in double precision where
    one is within 1e-4 of the threshold. O(n kept dim) time, O(block^2) memory and 4 bytes for each
    component of what is kept.

    Parameters
    ----------
    vectors
        One per example, finite, (m, dim). One of length 0 has cosine 0 with every other.
    ranking
        Rows in the order in which they are considered, each at most once.
    threshold
        Largest cosine that is still apart, above -1.
    limit
        Stop once this many are kept; None for all.

    Examples
    --------
    >>> points = Vectors(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]))
    >>> apart(points, np.arange(3), 0.9).tolist()
    [0, 2]
    """
    kept: list[_Units] = []
    rows: list[Int[np.ndarray, " b"]] = []
    n_kept = 0
    for start in range(0, len(ranking), BLOCK_ROWS):
        units = _Units.of(vectors, ranking[start : start + BLOCK_ROWS])
        free = np.ones(len(units.rows), dtype=bool)
        for earlier in kept:
            places = np.flatnonzero(free)
            free[places] = ~units.some(places).near(earlier, threshold).any(axis=1)
        units = units.some(np.flatnonzero(free))
        chosen = _first_apart(units.near(units, threshold))
        if limit is not None:
            chosen = chosen[: limit - n_kept]
        kept.append(units.some(chosen))
        rows.append(kept[-1].rows)
        n_kept += len(chosen)
        if limit is not None and n_kept >= limit:
            break
    return np.concatenate([np.empty(0, dtype=np.int64), *rows])


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """Some rows of vectors, scaled to length 1 in single precision."""

    vectors: Vectors
    rows: Int[np.ndarray, " b"]
    single: Float[np.ndarray, "b dim"]

    @classmethod
    def of(cls, vectors: Vectors, rows: Int[np.ndarray, " b"]) -> "_Units":
        return cls(vectors, rows, unit_rows(vectors.take(rows)).astype(np.float32))

    def some(self, places: Int[np.ndarray, " c"]) -> "_Units":
        return _Units(self.vectors, self.rows[places], self.single[places])

    def near(self, other: "_Units", threshold: float) -> Bool[np.ndarray, "a b"]:
        """Return which pairs have a cosine above the threshold, exact to 1e-12."""
        cosines = self.single @ other.single.T
        near: Bool[np.ndarray, "a b"] = cosines > threshold
        doubtful = np.abs(cosines - threshold) < DOUBT
        if doubtful.any():
            self._decide(near, doubtful, other, threshold)
        return near

    def _decide(
        self,
        near: Bool[np.ndarray, "a b"],
        doubtful: Bool[np.ndarray, "a b"],
        other: "_Units",
        threshold: float,
    ) -> None:
        """Decide some pairs in double precision."""
        left, right = np.nonzero(doubtful)
        for start in range(0, len(left), BLOCK_ROWS):
            a, b = left[start : start + BLOCK_ROWS], right[start : start + BLOCK_ROWS]
            cosines = np.einsum("ij,ij->i", self._exact(a), other._exact(b))
            near[a, b] = cosines.round(12) > threshold

    def _exact(self, places: Int[np.ndarray, " c"]) -> Float[np.ndarray, "c dim"]:
        """Return some rows in double precision."""
        return unit_rows(self.vectors.take(self.rows[places]))


def _first_apart(near: Bool[np.ndarray, "b b"]) -> Int[np.ndarray, " k"]:
    """Return which rows are kept one after the other, each unless it is near one kept before.

    A row without a near one before it is kept, and what is near it later is not: repeated until
    every row is decided, once for each link of the longest chain.
    """
    before = np.tril(near, -1)
    kept = np.zeros(len(near), dtype=bool)
    open_ = np.ones(len(near), dtype=bool)
    while open_.any():
        rows = np.flatnonzero(open_)
        first = rows[~before[np.ix_(rows, rows)].any(axis=1)]
        kept[first] = True
        open_[first] = False
        open_ &= ~before[:, first].any(axis=1)
    return np.flatnonzero(kept)
