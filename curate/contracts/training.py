"""Ways to train: what an objective, a batch policy and a mixture are, and what the loop gives them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # torch is not loaded for the vocabulary; type checkers see the real class


@runtime_checkable
class OutputHead(Protocol):
    """The LM head: ``head.finish(head.project(hidden))`` are the logits, (T, V)."""

    def project(self, hidden: Tensor) -> Tensor:
        """Return hidden states times the head's weight, in float32, or float64 for a float64 model."""

    def finish(self, raw: Tensor) -> Tensor:
        """Turn projections into logits: bias, scale and soft cap where the model has them."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What should have been predicted at the scored positions of some examples.

    Parameters
    ----------
    targets
        Token id per position, (T,), in order of example.
    owner
        Example each position belongs to, (T,), an index into ``ids``.
    ids
        Ids of the examples, so that an objective can look up columns of its own.
    """

    targets: Tensor
    owner: Tensor
    ids: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A summed loss, and the plain NLL of each position for the record.

    Parameters
    ----------
    total
        Weighted sum over positions, a scalar with gradient. The loop divides it by the weighted
        number of response tokens of the global batch.
    nll
        Negative log-likelihood in nats per position, (T,), without gradient.
    """

    total: Tensor
    nll: Tensor


class Objective(ABC):
    """Config of a loss, as a frozen dataclass; stateless.

    ``whole_examples``: whether `loss` must see all positions of an example at once. Otherwise a
    long example is cut where the logits would need too much memory.
    """

    name: ClassVar[str]
    whole_examples: ClassVar[bool] = False

    @abstractmethod
    def loss(self, hidden: Tensor, head: OutputHead, labels: Labels, weights: Tensor) -> Loss:
        """Return the loss of some positions: a sum, so that a batch may be computed in pieces.

        Parameters
        ----------
        hidden
            Final hidden states that predict the labels, (T, dim).
        head
            LM head; ``head.finish(head.project(hidden))`` are the logits, (T, V).
        labels
            Targets, and the example of each.
        weights
            Training weight of each position's example, (T,), float32 or the model's float64.
        """


@final
@dataclass(frozen=True, slots=True, eq=False)
class BatchStats:
    """What is known about a candidate batch before it is trained on.

    Parameters
    ----------
    ids
        Example per row.
    losses
        Mean response NLL of each row in nats under the present weights, (n,); NaN where the policy
        does not need them.
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
        """Return how many of ``n_candidates`` to keep, at least 1."""

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


class Mixture(ABC):
    """Config of a schedule over sources, as a frozen dataclass; stateless."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def every(self) -> int | None:
        """Steps between two calls of `weights`; None: never, every row is seen once an epoch."""

    @abstractmethod
    def weights(self, step: int, losses: Mapping[str, float]) -> Mapping[str, float]:
        """Return the share of the tokens each source gets from this step on.

        Parameters
        ----------
        step
            Optimiser steps done.
        losses
            Recent mean NLL in nats per source; NaN for a source not seen yet.

        Returns
        -------
        Mapping[str, float]
            One number for each source, not negative, not all 0; they are normalised to a sum of 1.
        """
