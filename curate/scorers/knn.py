"""How far an example lies from its neighbours in the pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np
from jaxtyping import Float

from curate.contracts import Column, Columns, Need, PoolScorer, Role, Vectors, View
from curate.errors import ConfigError
from curate.registry import register

BLOCK_ROWS: Final = 2_048


@register
@final
@dataclass(frozen=True)
class KNN(PoolScorer):
    """Distance of each example's embedding to its i-th nearest neighbour in the pool.

    Higher: the example is more unlike the rest. Exact, in float64, in blocks: O(n^2 dim) time,
    O(block^2) memory beyond two blocks of vectors. Examples of equal vectors are neighbours at distance 0. A
    pool of i examples or fewer has no i-th neighbour, and every example fails.

    Parameters
    ----------
    i
        Which neighbour, from 1; 6 as in InstructMining [1]_.
    metric
        ``euclidean``, or ``cosine``: one minus the cosine of the angle, as InstructMining reads best.

    References
    ----------
    .. [1] Cao et al., Instruction Mining: Instruction Data Selection for Tuning Large Language
       Models, COLM 2024, table of indicators. https://arxiv.org/abs/2307.06290

    Examples
    --------
    >>> points = np.array([[0.0], [1.0], [3.0]])
    >>> neighbour_distance(Vectors(points), 1).tolist()
    [1.0, 1.0, 2.0]
    """

    name: ClassVar[str] = "knn"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "distance": Column("float", "distance to the i-th nearest neighbour; higher is rarer"),
    }
    i: int = 6
    metric: Literal["euclidean", "cosine"] = "euclidean"

    def __post_init__(self) -> None:
        if self.i < 1:
            raise ConfigError(f"knn.i counts neighbours from 1, got {self.i}; try 6")

    def requires(self) -> Mapping[str, Need]:
        return {"embedding": Need("embedding")}

    def run(self, view: View, device: str) -> Columns:
        vectors = view.vectors("embedding.vector")
        if self.metric == "euclidean":
            return {"distance": neighbour_distance(vectors, self.i)}
        chord = neighbour_distance(vectors, self.i, unit=True)
        return {"distance": chord**2 / 2}  # |a - b|^2 = 2 (1 - cos) for vectors of length one


def neighbour_distance(
    vectors: Vectors, i: int, *, unit: bool = False, block: int = BLOCK_ROWS
) -> Float[np.ndarray, " n"]:
    """Return the Euclidean distance of each vector to its i-th nearest other, NaN where there is none.

    Parameters
    ----------
    vectors
        One per example, (n, dim).
    i
        Which neighbour, from 1.
    unit
        Whether vectors are first scaled to length one; a zero vector gives NaN.
    block
        Vectors compared with as many others at once.
    """
    n = len(vectors)
    result = np.full(n, np.nan)
    if n <= i:
        return result
    for start, rows in vectors.blocks(block):
        nearest = np.full((len(rows), i), np.inf)
        for other, columns in vectors.blocks(block):
            squared = _squared_distances(_exact(rows, unit), _exact(columns, unit))
            if other == start:
                np.fill_diagonal(squared, np.inf)
            both = np.concatenate([nearest, squared], axis=1)
            nearest = np.partition(both, i - 1, axis=1)[:, :i]
        result[start : start + len(rows)] = np.sqrt(nearest.max(axis=1))
    return result


def _exact(x: Float[np.ndarray, "n dim"], unit: bool) -> Float[np.ndarray, "n dim"]:
    exact = x.astype(np.float64)
    if not unit:
        return exact
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    unit_length: Float[np.ndarray, "n dim"] = exact / np.where(length > 0, length, np.nan)
    return unit_length


def _squared_distances(
    x: Float[np.ndarray, "a dim"], y: Float[np.ndarray, "b dim"]
) -> Float[np.ndarray, "a b"]:
    squared: Float[np.ndarray, "a b"] = np.square(x).sum(1)[:, None] + np.square(y).sum(1)
    squared -= 2 * (x @ y.T)
    np.maximum(squared, 0, out=squared)
    return squared
