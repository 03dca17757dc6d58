"""As few near-duplicates as possible, at any size."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    places_in_group,
    register,
)


@register
@final
@dataclass(frozen=True)
class Dedup(Selector):
    """Exactly as many examples as asked for, with as few near-duplicates among them as possible.

    One example of every cluster of copies first, then a second one of every cluster that has one, and so
    on; those least like their representative come first among the copies. So copies are taken
    only once nothing distinct is left, and the selection then says how many. Without a budget it is
    every distinct example and no copy. Which examples come first is drawn with the seed, or
    decided by ``rank``. O(n log n).

    Clusters are those of `near_duplicate`, whose settings decide what a copy is:
    ``--set near_duplicate.threshold=0.9``. `semdedup` does the same by embeddings.

    Evidence: precision and recall on planted duplicates of several kinds are in `reports/duplicates.md`.

    Parameters
    ----------
    rank
        Expression over scores: the best example of each cluster is taken, and the best clusters
        first. Empty: the representative of each, in an order drawn with the seed.

    Examples
    --------
    >>> near = {"is_copy": [False, True, False], "cluster": [0, 0, 1], "similarity": [1, 0.9, 1]}
    >>> columns = {f"near_duplicate.{name}": np.array(values) for name, values in near.items()}
    >>> view = View(np.array([b"a", b"b", b"c"]), columns)
    >>> sorted(Dedup().select(view, None, np.random.default_rng(0)).indices.tolist())
    [0, 2]
    """

    name: ClassVar[str] = "dedup"
    purpose: ClassVar[str] = "few near-duplicates"
    budget_optional: ClassVar[bool] = True
    rank: str = ""

    def requires(self) -> Mapping[str, Need | Expression]:
        needs: dict[str, Need | Expression] = {"near_duplicate": Need("near_duplicate")}
        return {**needs, "rank": Expression(self.rank)} if self.rank.strip() else needs

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        similarity = view.scores("near_duplicate.similarity")
        usable = np.isfinite(similarity)
        order = rng.permutation(len(view)).astype(np.float64)
        is_ranked = "rank" in view.columns
        if is_ranked:
            usable &= np.isfinite(view.scores("rank"))
        rows = np.flatnonzero(usable)
        excluded = {"rank or similarity is null or not finite": len(view) - len(rows)}
        excluded = {reason: count for reason, count in excluded.items() if count}
        copies = view.column("near_duplicate.is_copy").astype(bool)[rows]
        cluster = view.scores("near_duplicate.cluster")[rows].astype(np.int64)
        keys = -view.scores("rank")[rows] if is_ranked else np.where(copies, similarity[rows], -1.0)
        _, places, _ = places_in_group(keys, cluster)
        within = keys if is_ranked else np.where(places == 1, order[rows], similarity[rows])
        ranking = rows[np.lexsort((within, places))]
        n_distinct = int((places == 1).sum())
        considered = replace(view, excluded={**view.excluded, **excluded})
        indices = keep_within(
            ranking[:n_distinct] if budget is None else ranking, budget, considered
        )
        place_of = np.zeros(len(view), dtype=np.int64)
        place_of[rows] = places
        return Selection(
            indices,
            np.where(place_of[indices] == 1, 1.0, 1 - similarity[indices]),
            None,
            _reasons(place_of[indices], similarity[indices]),
            excluded,
            _too_few(len(indices), n_distinct),
        )


def _reasons(places: Int[np.ndarray, " k"], similarity: Float[np.ndarray, " k"]) -> list[str]:
    return [
        "distinct" if place == 1 else f"place {place} of its cluster, similarity {value:.3f}"
        for place, value in zip(places.tolist(), similarity.tolist(), strict=True)
    ]


def _too_few(n_chosen: int, n_distinct: int) -> tuple[str, ...]:
    if n_chosen <= n_distinct:
        return ()
    warning = (
        f"{n_chosen:,} examples were asked for and only {n_distinct:,} are distinct: "
        f"{n_chosen - n_distinct:,} of those chosen are copies of others; ask for at most "
        f"{n_distinct:,}, or raise near_duplicate.threshold"
    )
    return (warning,)
