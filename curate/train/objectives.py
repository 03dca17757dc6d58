"""Losses of the scored positions. Add one by subclassing `Objective`; the loop does not change."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

if TYPE_CHECKING:
    from torch import Tensor

    from curate.models.head import Head


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

    targets: "Tensor"
    owner: "Tensor"
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

    total: "Tensor"
    nll: "Tensor"


class Objective(ABC):
    """Config of a loss, as a frozen dataclass; stateless.

    ``whole_examples``: whether `loss` must see all positions of an example at once. Otherwise a
    long example is cut where the logits would need too much memory.
    """

    name: ClassVar[str]
    whole_examples: ClassVar[bool] = False

    @abstractmethod
    def loss(self, hidden: "Tensor", head: "Head", labels: Labels, weights: "Tensor") -> Loss:
        """Return the loss of some positions.

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
@dataclass(frozen=True)
class NextToken(Objective):
    """Negative log-likelihood of every response token, end of turn included, in nats."""

    name: ClassVar[str] = "next-token"

    def loss(self, hidden: "Tensor", head: "Head", labels: Labels, weights: "Tensor") -> Loss:
        """Return the weighted sum of NLL."""
        nll = token_nll(hidden, head, labels)
        return Loss((nll * weights).sum(), nll.detach())


@final
@dataclass(frozen=True)
class DynamicFineTuning(Objective):
    """NLL of each token times the model's own probability of it, held constant [1]_.

    Likely tokens count more: the loss no longer rewards one-off surprises.

    References
    ----------
    .. [1] Wu et al., On the Generalization of SFT: A Reinforcement Learning Perspective with
       Reward Rectification, 2025. https://arxiv.org/abs/2508.05629
    """

    name: ClassVar[str] = "dft"

    def loss(self, hidden: "Tensor", head: "Head", labels: Labels, weights: "Tensor") -> Loss:
        """Return the weighted sum of probability times NLL; no gradient through the probability."""
        nll = token_nll(hidden, head, labels)
        probability = nll.detach().neg().exp()
        return Loss((nll * probability * weights).sum(), nll.detach())


def token_nll(hidden: "Tensor", head: "Head", labels: Labels) -> "Tensor":
    """Return the NLL in nats of each label, (T,), with gradient; logits in float32 or float64."""
    from torch.nn.functional import cross_entropy

    logits = head.finish(head.project(hidden))
    return cross_entropy(logits, labels.targets, reduction="none")
