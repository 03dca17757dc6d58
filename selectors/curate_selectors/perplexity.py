"""Low, middle or high perplexity: the classical pruning baselines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

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
    register,
)


@register
@final
@dataclass(frozen=True)
class Perplexity(Selector):
    """The examples whose response perplexity given the prompt is lowest, in the middle or highest.

    Perplexity is ``exp(-mean_logp)`` over response tokens; gains are perplexities. This compares
    examples across instructions, which GRAPE never does. Truncated responses stay in, scored on
    what fits the context, and a warning counts those selected. O(n log n).

    Evidence: in our proofs no difference from random was shown on GSM8K (`reports/proof-gsm8k-train.md`), and on
    the demo's pool it was worse (`reports/proof-demo.md`: +0.063 nats a token).

    Parameters
    ----------
    which
        ``low``, ``high``, or ``mid``: the ranks around the median, which pruning for pre-training
        found best [1]_. Mid ranks outward from the median (the lower perplexity first at equal
        distance), so a larger budget contains a smaller one.

    References
    ----------
    .. [1] Marion et al., When Less is More: Investigating Data Pruning for Pretraining LLMs at
       Scale, 2023. https://arxiv.org/abs/2309.04564

    Examples
    --------
    >>> mean_logp, cut = np.array([-1.0, -4.0, -3.0, -2.0]), np.zeros(4, dtype=bool)
    >>> columns = {"likelihood.mean_logp": mean_logp, "likelihood.truncated": cut}
    >>> view = View(np.array([b"a", b"b", b"c", b"d"]), columns)
    >>> Perplexity("mid").select(view, Budget(3), np.random.default_rng(0)).indices.tolist()
    [3, 2, 0]
    """

    name: ClassVar[str] = "perplexity"
    purpose: ClassVar[str] = "quality and difficulty"
    which: Literal["low", "mid", "high"] = "mid"

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"likelihood": Need("likelihood", "target")}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        mean_logp = view.scores("likelihood.mean_logp")
        scored = np.flatnonzero(np.isfinite(mean_logp))
        n_unscored = len(view) - len(scored)
        excluded = {"perplexity is not finite": n_unscored} if n_unscored else {}
        order = scored[rank_perplexity(mean_logp[scored], self.which)]
        considered = replace(view, excluded={**view.excluded, **excluded})
        indices = keep_within(order, budget, considered)
        perplexity = np.exp(-mean_logp[indices])
        reasons = [f"{self.which} perplexity ({value:.4g})" for value in perplexity.tolist()]
        n_truncated = int(view.column("likelihood.truncated")[indices].sum())
        warnings = tuple(_truncated(n_truncated, len(indices)))
        return Selection(indices, perplexity, None, reasons, excluded, warnings)


def rank_perplexity(
    mean_logp: Float[np.ndarray, " n"], which: Literal["low", "mid", "high"]
) -> Int[np.ndarray, " n"]:
    """Order examples by perplexity: lowest first, highest first, or outward from the median."""
    if which == "high":
        return np.argsort(mean_logp, kind="stable")
    ascending = np.argsort(-mean_logp, kind="stable")
    if which == "low":
        return ascending
    ranks = np.arange(len(ascending))
    twice_the_distance = np.abs(2 * ranks - (len(ascending) - 1))
    return ascending[np.argsort(twice_the_distance, kind="stable")]


def _truncated(n_truncated: int, n_picks: int) -> Iterator[str]:
    if n_truncated:
        yield (
            f"{n_truncated} of {n_picks} picks are truncated: their perplexity does not cover the "
            "end of the response"
        )
