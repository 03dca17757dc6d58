"""How far an example lies from its neighbours in the pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from curate.algorithms.neighbours import neighbour_distance
from curate.contracts import Column, Columns, Need, PoolScorer, Role, View
from curate.errors import ConfigError
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class KNN(PoolScorer):
    """Distance of each example's embedding to its i-th nearest neighbour in the pool.

    Higher: less like the rest. An example is not its own neighbour; examples with equal vectors are
    neighbours at distance 0. Exact: every pair is compared, in blocks. O(n^2 dim) time, O(n i +
    block^2) memory beyond two blocks of vectors; see `curate.algorithms.neighbours`. A vector with
    a NaN, and under ``cosine`` one of length 0, fails its example and is never a neighbour. A pool
    of i examples or fewer has no i-th neighbour, and every example fails.

    Parameters
    ----------
    i
        Which neighbour, from 1; 6 as in InstructMining [1]_.
    metric
        ``euclidean``, or ``cosine``: one minus the cosine of the angle, in [0, 2], which is what
        the InstructMining selector asks for (the paper does not say; a coefficient of -0.935 beside
        an intercept of 1.07 needs a quantity of order one).

    References
    ----------
    .. [1] Cao et al., Instruction Mining: Instruction Data Selection for Tuning Large Language
       Models, COLM 2024, table of indicators. https://arxiv.org/abs/2307.06290

    Examples
    --------
    >>> KNN().requires()["embedding"].scorer
    'embedding'
    """

    name: ClassVar[str] = "knn"
    version: ClassVar[int] = 2
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
