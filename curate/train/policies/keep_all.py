"""No selection inside the batch."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Int

from curate.contracts import BatchPolicy, BatchStats
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class KeepAll(BatchPolicy):
    """Train on every row of a batch. The default."""

    name: ClassVar[str] = "keep-all"
    needs_stats: ClassVar[bool] = False

    def size(self, n_candidates: int) -> int:
        """Return all of them."""
        return n_candidates

    def keep(
        self, stats: BatchStats, k: int, rng: np.random.Generator, state: dict[str, Any]
    ) -> Int[np.ndarray, " k"]:
        """Return all rows in order."""
        return np.arange(k)
