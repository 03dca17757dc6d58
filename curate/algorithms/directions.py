"""Embeddings with a direction: which have one, scaled to length 1, and the examples that can be compared."""

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.contracts import Need
from curate.contracts.budget import Budget, spending
from curate.contracts.view import Vectors, View
from curate.errors import ConfigError

CACHED_ROWS: Final = 2_048  # read together where each is used once: in the cache, and no new memory
DEFAULT_EMBEDDING: Final = "embedding"  # the scorer, and the alias its scores have by default


def embedding_need(alias: str) -> dict[str, Need]:
    """Return the need of a method that compares embeddings by ``alias.vector``.

    The default alias is computed where it is missing; any other must be in the store.
    """
    return {alias: Need(DEFAULT_EMBEDDING if alias == DEFAULT_EMBEDDING else None)}


def check_embedding(method: str, alias: str) -> None:
    """Raise `ConfigError` for an alias that is empty."""
    if not alias.strip():
        raise ConfigError(
            f"{method}.embedding is empty; give the alias of a score set of vectors, such as "
            f"{DEFAULT_EMBEDDING}"
        )


@final
@dataclass(frozen=True, eq=False)
class Comparable:
    """The examples of a view whose embeddings have a direction.

    Parameters
    ----------
    vectors
        Those of the whole view, (n, dim).
    rows
        Rows of the view that have one, ascending, (m,); at least one.
    excluded
        How many have none, by reason.
    considered
        The view, with those counted as excluded.
    """

    vectors: Vectors
    rows: Int[np.ndarray, " m"]
    excluded: dict[str, int]
    considered: View

    @classmethod
    def of(cls, view: View, alias: str) -> "Comparable":
        """Return those of ``alias.vector``, O(n dim); `ConfigError` if there is none."""
        vectors = view.vectors(f"{alias}.vector")
        usable, excluded = have_direction(vectors)
        rows = np.flatnonzero(usable)
        if not len(rows):
            raise ConfigError(
                f"no embedding {alias!r} is finite and longer than 0; score again with another model"
            )
        considered = replace(view, excluded={**view.excluded, **excluded})
        return cls(vectors, rows, excluded, considered)

    @property
    def part(self) -> Vectors:
        """The vectors of ``rows`` alone."""
        return part_of(self.vectors, self.rows)

    def spending(self, budget: Budget) -> tuple[Float[np.ndarray, " m"], float]:
        """Return what each row spends of a budget, and how much there is to spend; see `spending`."""
        return spending(self.rows, budget, self.considered)


def have_direction(vectors: Vectors) -> tuple[Bool[np.ndarray, " n"], dict[str, int]]:
    """Return which vectors are finite and longer than 0, and how many others there are, by reason."""
    lacking = without_direction(lengths_of(vectors))
    usable = ~np.logical_or.reduce(list(lacking.values()))
    return usable, {reason: int(rows.sum()) for reason, rows in lacking.items() if rows.any()}


def without_direction(lengths: Float[np.ndarray, " n"]) -> dict[str, Bool[np.ndarray, " n"]]:
    """Return which vectors have no direction, by reason; each has one reason at most."""
    return {
        "embedding is not finite": ~np.isfinite(lengths),
        "embedding has length 0": lengths == 0,
    }


def lengths_of(vectors: Vectors) -> Float[np.ndarray, " n"]:
    """Return the Euclidean lengths of vectors in double precision, read in blocks."""
    lengths = np.empty(len(vectors))
    for start, block in vectors.blocks(CACHED_ROWS):
        exact = block.astype(np.float64)
        lengths[start : start + len(block)] = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    return lengths


def unit_rows(block: Float[np.ndarray, "b dim"]) -> Float[np.ndarray, "b dim"]:
    """Return vectors scaled to length 1, in double precision; one of length 0 stays as it is.

    Examples
    --------
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    exact = block.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))[:, None]
    return exact / np.where(lengths > 0, lengths, 1.0)


def part_of(vectors: Vectors, rows: Int[np.ndarray, " k"]) -> Vectors:
    """Return the vectors of some rows, without reading them."""
    return Vectors(vectors.array, rows if vectors.rows is None else vectors.rows[rows])
