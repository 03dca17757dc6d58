"""Which rows of a candidate batch are trained on. Add one by subclassing `BatchPolicy`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float, Int

from curate.errors import ConfigError


@final
@dataclass(frozen=True, slots=True, eq=False)
class BatchStats:
    """What is known of a candidate batch before it is trained on.

    Parameters
    ----------
    ids
        Example per row.
    losses
        Mean response NLL of each row in nats under the present weights, (n,).
    n_tokens
        Response tokens of each row, (n,).
    """

    ids: Sequence[str]
    losses: Float[np.ndarray, " n"]
    n_tokens: Int[np.ndarray, " n"]


class BatchPolicy(ABC):
    """Config of an in-loop selection, as a frozen dataclass; what it learns lives in its state.

    ``needs_stats``: whether the candidates are run through the model first (one more forward).
    """

    name: ClassVar[str]
    needs_stats: ClassVar[bool] = True

    @abstractmethod
    def size(self, n_candidates: int) -> int:
        """Return how many of so many candidates to keep, at least 1."""

    @abstractmethod
    def keep(
        self, stats: BatchStats, k: int, rng: np.random.Generator, state: dict[str, Any]
    ) -> Int[np.ndarray, " k"]:
        """Return the rows to train on, ``k`` distinct indices into the candidates.

        ``rng`` depends on the seed and the step only. ``state`` is this policy's own, as
        `initial_state` made it; change it in place. It is JSON in every checkpoint.
        """

    def initial_state(self) -> dict[str, Any]:
        """Return the state before the first step: values JSON can hold."""
        return {}


@final
@dataclass(frozen=True)
class KeepAll(BatchPolicy):
    """Train on every candidate."""

    name: ClassVar[str] = "keep-all"
    needs_stats: ClassVar[bool] = False

    def size(self, n_candidates: int) -> int:
        """Return all of them."""
        return n_candidates

    def keep(
        self, stats: BatchStats, k: int, rng: np.random.Generator, state: Mapping[str, Any]
    ) -> Int[np.ndarray, " k"]:
        """Return all rows in order."""
        return np.arange(k)


@final
@dataclass(frozen=True)
class DropHighestLoss(BatchPolicy):
    """Leave the rows with the highest mean NLL of each candidate batch out, as probably wrong.

    Ties go to the row that comes first. The state counts how often each example was left out.

    Parameters
    ----------
    k
        Rows to drop; a batch of k rows or fewer keeps one.
    """

    name: ClassVar[str] = "drop-highest-loss"
    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"drop-highest-loss.k must be at least 1, got {self.k}")

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
