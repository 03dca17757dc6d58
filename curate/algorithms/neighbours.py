"""Exact nearest neighbours and their distances, by blocks of matrix products."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.algorithms.faiss_index import MOST_ON_CARDS, flat_index, n_cards, search
from curate.contracts.view import Vectors

BLOCK_ROWS: Final = 2_048
SPARE: Final = 8  # candidates beyond the i-th, so that rounding rarely leaves a doubt
CARD_WORTH: Final = 16_384  # vectors from which a GPU is asked, if faiss can use one
CARD_ELEMENTS: Final = 134_217_728  # numbers of an index on a GPU: 512 MiB in single precision
UNIT_ROUNDOFF: Final = 2.0**-24  # of single precision


def neighbour_distance(
    vectors: Vectors, i: int, *, unit: bool = False, block: int = BLOCK_ROWS
) -> Float[np.ndarray, " n"]:
    """Return the Euclidean distance of each vector to its i-th nearest other, NaN where there is none.

    Every pair is compared once, in single precision; the few nearest of each vector are measured in
    double precision. Where rounding may have hidden a nearer one, by the error bound of a product
    of matrices, that vector is compared with all others in double precision. So distances are
    exact to double precision, and equal vectors are at distance 0. A vector with a NaN has no
    distance and is never a neighbour.

    Our own, because faiss and scikit-learn do not say where rounding leaves a doubt; the figure
    `knn` of `make bench` compares its time with a bare flat index of faiss.

    The products run on the machine's GPUs where faiss has its build for them; what is exact stays so.

    O(n^2 dim / 2) time and O(n i + block^2) memory beyond two blocks of vectors; up to five times
    the time where most vectors have more than i + 8 others at almost the same distance.

    Parameters
    ----------
    vectors
        One per example, (n, dim).
    i
        Which neighbour, from 1.
    unit
        Whether vectors are first scaled to length one; a vector of length 0 gives NaN.
    block
        Vectors compared with as many others at once.

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [3.0]])
    >>> neighbour_distance(Vectors(points), 1).tolist()
    [1.0, 1.0, 2.0]
    """
    n = len(vectors)
    if n <= i:
        return np.full(n, np.nan)
    result = np.empty(n)
    for rows, _, distances in _candidates(vectors, i, unit, block):
        result[rows] = np.partition(distances, i - 1, axis=1)[:, i - 1]
    return np.where(np.isfinite(result), result, np.nan)


def nearest_neighbours(
    vectors: Vectors, k: int, *, unit: bool = False, block: int = BLOCK_ROWS
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Return the ``k`` nearest others of each vector, nearest first, and their Euclidean distances.

    Exact, as `neighbour_distance` is: no other vector is nearer than the last of the ``k``, up to
    rounding in double precision. Equally near ones stand by row; which of them are returned, where
    more are equally near than there is room for, is the same for the same vectors. -1 and infinity
    where there is no other, which is the whole row of a vector with a NaN.

    O(n^2 dim / 2) time and O(n k + block^2) memory.

    Parameters
    ----------
    vectors
        One per example, (n, dim).
    k
        How many; fewer than there are vectors.
    unit
        Whether vectors are first scaled to length one; a vector of length 0 has no neighbours then.
    block
        Vectors compared with as many others at once.

    Examples
    --------
    >>> rows, distances = nearest_neighbours(Vectors(np.array([[0.0], [1.0], [3.0]])), 2)
    >>> rows.tolist(), distances.tolist()
    ([[1, 2], [0, 2], [1, 0]], [[1.0, 3.0], [1.0, 2.0], [2.0, 3.0]])
    """
    n = len(vectors)
    nearest, far = np.full((n, k), -1), np.full((n, k), np.inf)
    if k == 0:
        return nearest, far
    for rows, others, distances in _candidates(vectors, k, unit, block):
        known = np.where(np.isfinite(distances), distances, np.inf)
        order = np.lexsort((others, known), axis=1)[:, :k]
        far[rows] = np.take_along_axis(known, order, axis=1)
        nearest[rows] = np.take_along_axis(others, order, axis=1)
    return np.where(np.isfinite(far), nearest, -1), far


def _candidates(
    vectors: Vectors, i: int, unit: bool, block: int
) -> Iterator[tuple[Int[np.ndarray, " b"], Int[np.ndarray, "b keep"], Float[np.ndarray, "b keep"]]]:
    """Yield rows, others that hold their ``i`` nearest, in no order, and distances in double precision.

    A row may come a second time, where rounding left a doubt: what comes later is right.
    """
    n = len(vectors)
    space = _Space.around_mean(vectors, unit, block)
    nearest = _single_precision(space, min(i + SPARE, n - 1), block)
    doubtful = np.zeros(n, dtype=bool)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        distances = space.distances(rows, nearest.rows[rows])
        exact = np.partition(distances, i - 1, axis=1)[:, i - 1]
        beyond = nearest.squared[rows].max(axis=1) - space.rounding(rows)
        doubtful[rows] = (exact > 0) & ~(exact**2 <= beyond)
        yield rows, nearest.rows[rows], distances
    unsure = np.flatnonzero(doubtful & space.usable)
    for start in range(0, len(unsure), block):
        rows = unsure[start : start + block]
        candidates = _double_precision(space, rows, nearest.rows.shape[1], block)
        yield rows, candidates, space.distances(rows, candidates)


@final
@dataclass(frozen=True, eq=False)
class _Space:
    """Vectors relative to their mean: distances are unchanged, and |x|^2 + |y|^2 - 2 x.y loses few digits.

    ``squared_lengths`` are those of the moved vectors; ``usable`` is False for vectors with a NaN.
    """

    vectors: Vectors
    unit: bool
    centre: Float[np.ndarray, " dim"]
    squared_lengths: Float[np.ndarray, " n"]
    usable: Bool[np.ndarray, " n"]

    @classmethod
    def around_mean(cls, vectors: Vectors, unit: bool, block: int) -> "_Space":
        n = len(vectors)
        total, usable = np.zeros(vectors.dim), np.zeros(n, dtype=bool)
        for start, rows in vectors.blocks(block):
            exact = _double(rows, unit)
            fine = np.isfinite(exact).all(axis=1)
            usable[start : start + len(rows)] = fine
            total += exact[fine].sum(axis=0)
        centre = total / max(int(usable.sum()), 1)
        lengths = np.full(n, np.nan)
        for start, rows in vectors.blocks(block):
            lengths[start : start + len(rows)] = np.square(_double(rows, unit) - centre).sum(axis=1)
        return cls(vectors, unit, centre, lengths, usable)

    def take(self, rows: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b dim"]:
        """Return some vectors, moved, in double precision."""
        return np.asarray(_double(self.vectors.take(rows), self.unit) - self.centre)

    def distances(
        self, rows: Int[np.ndarray, " b"], others: Int[np.ndarray, "b k"]
    ) -> Float[np.ndarray, "b k"]:
        """Return distances from differences in double precision, infinite where there is no other."""
        own = _double(self.vectors.take(rows), self.unit)
        result = np.empty(others.shape)
        for column, chosen in enumerate(others.T):
            apart = own - _double(self.vectors.take(chosen), self.unit)
            result[:, column] = np.sqrt(np.einsum("bd,bd->b", apart, apart))
        return np.where(others >= 0, result, np.inf)

    def rounding(self, rows: Int[np.ndarray, " b"]) -> Float[np.ndarray, " b"]:
        """Bound the error of squared distances in single precision, to any other vector."""
        longest = self.squared_lengths[self.usable].max(initial=0.0)
        bound: Float[np.ndarray, " b"] = (
            2 * (self.vectors.dim + 8) * UNIT_ROUNDOFF * (self.squared_lengths[rows] + longest)
        )
        return bound


def _single_precision(space: _Space, keep: int, block: int) -> "_Nearest":
    """Return the ``keep`` nearest others of each vector as single precision sees them."""
    n = len(space.vectors)
    if keep < MOST_ON_CARDS and n >= CARD_WORTH and n_cards():
        return _on_cards(space, keep, block)
    nearest = _Nearest(np.full((n, keep), np.inf, np.float32), np.full((n, keep), -1))
    starts = range(0, n, block)

    def single(start: int) -> Float[np.ndarray, "b dim"]:
        return space.take(np.arange(start, min(start + block, n))).astype(np.float32)

    for start in starts:  # inside the blocks first: all that follows has a bound to beat
        x = single(start)
        squared = _squared_distances(x, x)
        np.fill_diagonal(squared, np.inf)
        nearest.fill(start, squared)
    for start in starts:
        x = single(start)
        for other in range(start + block, n, block):
            squared = _squared_distances(x, single(other))
            here, there = slice(start, start + len(x)), slice(other, other + block)
            hits = np.flatnonzero(squared < nearest.squared[here].max(axis=1)[:, None])
            rows, columns = np.divmod(hits, squared.shape[1])
            nearest.offer(rows + start, columns + other, squared.ravel()[hits])
            hits = np.flatnonzero(squared < nearest.squared[there].max(axis=1))
            rows, columns = np.divmod(hits, squared.shape[1])
            nearest.offer(columns + other, rows + start, squared.ravel()[hits])
    return nearest


def _on_cards(space: _Space, keep: int, block: int) -> "_Nearest":
    """Return the same by flat indexes of faiss on the machine's GPUs, as many vectors at once as they hold."""
    n = len(space.vectors)
    nearest = _Nearest(np.full((n, keep), np.inf, np.float32), np.full((n, keep), -1))
    usable = np.flatnonzero(space.usable)
    room = max(block, CARD_ELEMENTS // space.vectors.dim)
    for first in range(0, len(usable), room):
        held = usable[first : first + room]
        index = flat_index(space.take(held).astype(np.float32), keep + 1)
        for start in range(0, len(usable), block):
            rows = usable[start : start + block]
            squared, places = search(index, space.take(rows).astype(np.float32), keep + 1)
            others = np.where(places < 0, -1, held[places])
            squared[others == rows[:, None]] = np.inf
            squared = np.concatenate([nearest.squared[rows], squared], axis=1)
            others = np.concatenate([nearest.rows[rows], others], axis=1)
            best = np.argpartition(squared, keep - 1, axis=1)[:, :keep]
            nearest.squared[rows] = np.take_along_axis(squared, best, axis=1)
            nearest.rows[rows] = np.take_along_axis(others, best, axis=1)
    nearest.rows[~np.isfinite(nearest.squared)] = -1
    return nearest


def _double_precision(
    space: _Space, rows: Int[np.ndarray, " b"], keep: int, block: int
) -> Int[np.ndarray, "b keep"]:
    """Return the ``keep`` nearest others of some vectors in double precision, -1 where none are left."""
    x, n = space.take(rows), len(space.vectors)
    best, nearest = np.full((len(rows), keep), np.inf), np.full((len(rows), keep), -1)
    for start in range(0, n, block):
        others = np.arange(start, min(start + block, n))
        squared = _squared_distances(x, space.take(others))
        squared[(rows[:, None] == others) | np.isnan(squared)] = np.inf
        both = np.concatenate([best, squared], axis=1)
        numbers = np.concatenate([nearest, np.broadcast_to(others, squared.shape)], axis=1)
        chosen = np.argpartition(both, keep - 1, axis=1)[:, :keep]
        best = np.take_along_axis(both, chosen, axis=1)
        nearest = np.take_along_axis(numbers, chosen, axis=1)
    return np.where(np.isfinite(best), nearest, -1)


@final
@dataclass(frozen=True, eq=False)
class _Nearest:
    """The nearest others of each row found so far, in no order: squared distances and row numbers."""

    squared: Float[np.ndarray, "n keep"]
    rows: Int[np.ndarray, "n keep"]

    def fill(self, start: int, squared: Float[np.ndarray, "b b"]) -> None:
        """Take the nearest of each row inside its own block."""
        keep = min(self.squared.shape[1], squared.shape[1])
        nearest = np.argpartition(squared, keep - 1, axis=1)[:, :keep]
        here = slice(start, start + len(squared))
        distances = np.take_along_axis(squared, nearest, axis=1)
        known = distances < np.inf  # neither itself nor NaN
        self.squared[here, :keep] = np.where(known, distances, np.inf)
        self.rows[here, :keep] = np.where(known, nearest + start, -1)

    def offer(
        self,
        rows: Int[np.ndarray, " h"],
        others: Int[np.ndarray, " h"],
        squared: Float[np.ndarray, " h"],
    ) -> None:
        """Take pairs nearer than the worst kept of their row."""
        if not len(rows):
            return
        order = np.argsort(rows, kind="stable")
        affected, first, counts = np.unique(rows[order], return_index=True, return_counts=True)
        line = np.repeat(np.arange(len(affected)), counts)
        place = np.arange(len(rows)) - np.repeat(first, counts)
        distances = np.full((len(affected), counts.max()), np.inf, np.float32)
        numbers = np.full(distances.shape, -1)
        distances[line, place], numbers[line, place] = squared[order], others[order]
        distances = np.concatenate([self.squared[affected], distances], axis=1)
        numbers = np.concatenate([self.rows[affected], numbers], axis=1)
        keep = self.squared.shape[1]
        best = np.argpartition(distances, keep - 1, axis=1)[:, :keep]
        self.squared[affected] = np.take_along_axis(distances, best, axis=1)
        self.rows[affected] = np.take_along_axis(numbers, best, axis=1)


def _double(x: Float[np.ndarray, "n dim"], unit: bool) -> Float[np.ndarray, "n dim"]:
    exact = x.astype(np.float64)
    if not unit:
        return exact
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    unit_length: Float[np.ndarray, "n dim"] = exact / np.where(length > 0, length, np.nan)
    return unit_length


def _squared_distances(
    x: Float[np.ndarray, "a dim"], y: Float[np.ndarray, "b dim"]
) -> Float[np.ndarray, "a b"]:
    """Return |x|^2 - 2 x.y + |y|^2 as one product of matrices: no pass over the result."""
    ones_x, ones_y = (np.ones((len(vectors), 1), dtype=vectors.dtype) for vectors in (x, y))
    x_norms, y_norms = (np.square(vectors).sum(axis=1, keepdims=True) for vectors in (x, y))
    left = np.concatenate([-2 * x, x_norms, ones_x], axis=1)
    right = np.concatenate([y, ones_y, y_norms], axis=1)
    squared: Float[np.ndarray, "a b"] = left @ right.T
    return squared
