"""A draw from stored clusters by given weights: a round of iterative kMQ, useful by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    allocate_to_clusters,
    draw_from_clusters,
    draw_log_weights,
    draw_seed,
    fit_size,
    gumbel_keys,
    places_in_group,
    register,
)


@register
@final
@dataclass(frozen=True)
class ClusterDraw(Selector):
    """Examples drawn from the stored clusters of an embedding, in proportion to given weights.

    The exact allocation, with seeded rounding, and the draw without replacement of `kmq`, with
    weights per cluster in the place of cluster sizes. Reads the score set ``clusters``. O(n log n).

    Parameters
    ----------
    weights
        One per cluster, by its number, 0 or more, in any unit; clusters beyond the list get 0. None
        for the same weight for all.
    by_size
        Multiply each weight with the number of examples its cluster can still give.
    prob
        Chance inside a cluster, as for `kmq`: ``uniform``, or by ``quality``, ``softmax`` and
        ``linear``.
    quality
        Expression over stored scores, higher is better; not read with ``prob=uniform``.
    temperature
        Positive; lower is greedier.

    Examples
    --------
    >>> view = View(np.arange(6).astype("S2"), {"clusters.cluster": np.array([0, 0, 0, 1, 1, 1])})
    >>> chosen = ClusterDraw(weights=(1.0, 3.0)).select(view, Budget(4), np.random.default_rng(0))
    >>> np.bincount(chosen.indices // 3).tolist()
    [1, 3]
    """

    name: ClassVar[str] = "cluster-draw"
    purpose: ClassVar[str] = "diversity"
    nested: ClassVar[bool] = False
    weights: tuple[float, ...] = ()
    by_size: bool = False
    prob: Literal["uniform", "softmax", "linear"] = "uniform"
    quality: str = "likelihood.mean_logp"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ConfigError(
                f"cluster-draw.temperature must be positive, got {self.temperature!r}"
            )
        bad = [weight for weight in self.weights if not 0 <= weight < np.inf]
        if bad:
            raise ConfigError(f"cluster-draw.weights must be 0 or more, got {bad[0]!r}")

    def requires(self) -> Mapping[str, Need | Expression]:
        needs: dict[str, Need | Expression] = {"clusters": Need("clusters")}
        return needs if self.prob == "uniform" else {**needs, "quality": Expression(self.quality)}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None:
            raise BudgetError("cluster-draw needs a budget; add --budget 10%, 5000 or 2Mtok")
        stored = view.scores("clusters.cluster")
        quality = np.zeros(len(view)) if self.prob == "uniform" else view.scores("quality")
        has_cluster = np.isfinite(stored)
        if "clusters.distance" in view.columns:
            has_cluster &= np.isfinite(view.scores("clusters.distance"))
        rows = np.flatnonzero(has_cluster & np.isfinite(quality))
        lost = {"no cluster": int((~has_cluster).sum())}
        lost["quality is not finite"] = len(view) - len(rows) - lost["no cluster"]
        excluded = {reason: count for reason, count in lost.items() if count}
        codes = stored[rows].astype(np.int64)
        sizes = np.bincount(codes, minlength=max(1, len(self.weights)))
        keys = gumbel_keys(draw_log_weights(quality[rows], self.prob, self.temperature), rng)
        places = places_in_group(-keys, codes)[1] if len(rows) else np.zeros(0, dtype=np.int64)
        weights = self._weights(len(sizes)) * (sizes if self.by_size else 1)
        start = draw_seed(rng)

        def pick(n: int) -> Int[np.ndarray, " k"]:
            return draw_from_clusters(places, codes, allocate_to_clusters(n, weights, sizes, start))

        considered = View(
            view.ids[rows],
            tokens=None if view.tokens is None else view.tokens[rows],
            n_pool=view.n_pool,
            pool_tokens=view.pool_tokens,
            excluded={**view.excluded, **excluded},
        )
        picks = fit_size(pick, budget, considered)
        drawn = np.bincount(codes[picks], minlength=len(sizes))
        reasons = [
            f"one of {drawn[code]} drawn from the {sizes[code]} of cluster {code}"
            for code in codes[picks].tolist()
        ]
        gains = None if self.prob == "uniform" else quality[rows][picks]
        return Selection(rows[picks], gains, None, reasons, excluded)

    def _weights(self, n_clusters: int) -> Float[np.ndarray, " k"]:
        weights = np.zeros(n_clusters) if self.weights else np.ones(n_clusters)
        weights[: len(self.weights)] = self.weights[:n_clusters]
        return weights
