"""DSIR: examples drawn by how much likelier their words are in a target set than in the pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    BudgetError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    another_language,
    flat_lists,
    keep_within,
    list_blocks,
    register,
)

SMOOTHING: Final = 1e-8  # added to each share of a bucket, as in the paper's code


@register
@final
@dataclass(frozen=True)
class DSIR(Selector):
    """Examples drawn by how much likelier their words and pairs of words are in a target set than in the pool.

    Words and pairs fall into 10,000 buckets by a hash. The importance weight of an example is the product over its
    words and pairs of their share in the target set divided by their share in the pool; examples are drawn without
    replacement in proportion to it, by adding Gumbel noise to its logarithm and taking the highest [1]_. Of equal keys
    the smaller id comes first. No model. O(words) to score, once; O(words) to select, in
    the memory of the pool's buckets.

    Deviations from the paper's code: examples of fewer than 100 words are kept, which it drops and which are most of
    a pool of instructions; the shares in the pool are counted over all that is eligible, not over the first billion
    tokens; an example is its prompt and response, one a line.

    Evidence: the paper selects text for pretraining, where it matches choosing by hand and is ahead of random and of
    heuristic filters by 2 to 2.5% of GLUE. A log weight is a sum over words, so long examples dominate either end; with
    instructions that shows in the length ratio of the selection. This project has measured the share of target-like
    examples among what is selected (`reports/target-share.md`: above
    random for 5 of 9 categories), and has no proof against random yet.

    Parameters
    ----------
    buckets
        Buckets for words and pairs of words.
    draw
        False takes the highest weights instead of drawing.

    References
    ----------
    .. [1] Xie, Santurkar, Ma and Liang, Data Selection for Language Models via Importance Resampling,
       NeurIPS 2023, section 3. https://arxiv.org/abs/2302.03169

    Examples
    --------
    >>> flat, lengths = np.array([0, 0, 1]), np.array([2, 1])
    >>> of_pool, of_target = bucket_shares(flat, lengths, 2), np.array([1.0, 0.0])
    >>> log_weights((flat, lengths), of_pool, of_target).round(2).tolist()
    [0.81, -17.32]
    """

    name: ClassVar[str] = "dsir"
    purpose: ClassVar[str] = "towards a target set"
    uses_target: ClassVar[bool] = True
    buckets: int = 10_000
    draw: bool = True

    def requires(self) -> Mapping[str, Need | Expression]:
        return {"ngrams": Need("hashed-ngrams", None, {"buckets": self.buckets})}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None:
            raise BudgetError("dsir needs a budget; add --budget 10%, 5000 or 2Mtok")
        pool, target = (flat_lists(side, "ngrams.buckets") for side in (view, view.towards()))
        shares = bucket_shares(*pool, self.buckets)
        weights = log_weights(pool, shares, bucket_shares(*target, self.buckets))
        keys = weights + rng.gumbel(size=len(weights)) if self.draw else weights
        indices = keep_within(np.argsort(-keys, kind="stable"), budget, view)
        gains = weights[indices]
        reasons = [f"log importance weight {value:.6g}" for value in gains.tolist()]
        lacking = shares[target[0]] == 0
        unknown = float(lacking.mean()) if len(lacking) else 0.0
        warnings = another_language(unknown, "words and pairs", "bucket")
        return Selection(indices, gains, None, reasons, {}, warnings)


def log_weights(
    pool: tuple[Int[np.ndarray, " total"], Int[np.ndarray, " n"]],
    of_pool: Float[np.ndarray, " buckets"],
    of_target: Float[np.ndarray, " buckets"],
) -> Float[np.ndarray, " n"]:
    """Return the logarithm of each example's importance weight, in nats.

    ``pool`` has the buckets of all examples end to end, and how many each has; ``of_pool`` and
    ``of_target`` are the `bucket_shares` of the pool and of the target.
    """
    ratio = np.log(of_target + SMOOTHING) - np.log(of_pool + SMOOTHING)
    flat, lengths = pool
    weights = np.empty(len(lengths))
    for rows, numbers in list_blocks(lengths):
        example = np.repeat(np.arange(rows.stop - rows.start), lengths[rows])
        of_each = ratio[flat[numbers]]
        weights[rows] = np.bincount(example, of_each, minlength=rows.stop - rows.start)
    return weights


def bucket_shares(
    flat: Int[np.ndarray, " total"], lengths: Int[np.ndarray, " n"], buckets: int
) -> Float[np.ndarray, " buckets"]:
    """Return each bucket's share of all lists, which lie end to end in ``flat``."""
    counts = np.zeros(buckets, dtype=np.int64)
    for _, numbers in list_blocks(lengths):
        counts += np.bincount(flat[numbers], minlength=buckets)
    return counts / max(len(flat), 1)
