"""Plain supervised fine-tuning: the likelihood of every response token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from curate.contracts import Labels, Loss, Objective, OutputHead
from curate.registry import register
from curate.train.steps.token_nll import token_nll

if TYPE_CHECKING:
    from torch import Tensor


@register
@final
@dataclass(frozen=True)
class NextToken(Objective):
    """Negative log-likelihood of every response token, end of turn included, in nats.

    ``sum_t w_t CE_t / sum_t w_t`` over the response tokens of a batch, with ``CE_t = -log p(y_t)``
    and ``w_t`` the training weight of the token's example. The default.
    """

    name: ClassVar[str] = "next-token"

    def loss(self, hidden: "Tensor", head: OutputHead, labels: Labels, weights: "Tensor") -> Loss:
        """Return the weighted sum of NLL."""
        nll = token_nll(hidden, head, labels)
        return Loss((nll * weights).sum(), nll.detach())
