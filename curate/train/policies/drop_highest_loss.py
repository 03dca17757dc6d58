"""Trimmed loss: leave the rows the model fits worst out of each batch."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Int

from curate.contracts import BatchPolicy, BatchStats
from curate.errors import ConfigError
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class DropHighestLoss(BatchPolicy):
    """Leave out the rows with the highest mean NLL of each batch, as probably wrong.

    Costs one more forward pass over every batch. Ties go to the row that comes first. The state
    counts how often each example was left out.

    Deviations: the paper [1]_ trims a share of the whole data once a round of training (its Algorithm
    1); here ``k`` rows are trimmed of each batch, under the weights of that step.

    Parameters
    ----------
    k
        Rows to leave out of each batch, at least 1; a batch of k rows or fewer keeps one.

    References
    ----------
    .. [1] Shen and Sanghavi, Learning with Bad Training Data via Iterative Trimmed Loss
       Minimization, ICML 2019. https://arxiv.org/abs/1810.11874
    """

    name: ClassVar[str] = "drop-highest-loss"
    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(
                f"drop-highest-loss.k must be at least 1, got {self.k}; pass --set policy.k=1, or "
                "--policy keep-all to drop nothing"
            )

    def size(self, n_candidates: int) -> int:
        """Return what is left of them."""
        return max(1, n_candidates - self.k)

    def keep(
        self, stats: BatchStats, k: int, rng: np.random.Generator, state: dict[str, Any]
    ) -> Int[np.ndarray, " k"]:
        """Return the rows of lowest loss, in the order of the batch."""
        order = np.argsort(stats.losses, kind="stable")
        for row in order[k:]:
            dropped = state["dropped"]
            dropped[stats.ids[row]] = dropped.get(stats.ids[row], 0) + 1
        return np.sort(order[:k])

    def initial_state(self) -> dict[str, Any]:
        """Return the counts: nothing dropped yet."""
        return {"dropped": {}}
