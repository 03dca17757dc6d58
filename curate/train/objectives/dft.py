"""Dynamic fine-tuning: each token's loss counts as much as the model believes in the token."""

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
class DFT(Objective):
    """NLL of each token times the model's own probability of it, held constant.

    [1]_: ``sum_t w_t sg[p(y_t)] CE_t / sum_t w_t`` over the response tokens of a batch, with ``CE_t =
    -log p(y_t)``, ``sg`` the stop-gradient and ``w_t`` the training weight of the token's example.
    Tokens the model finds unlikely count less, so that it is not rewarded for one-off surprises.
    The probability is ``exp(-CE_t)``: no second softmax.

    Deviation: the training weights of a selection, which the paper does not have; without them
    this is the mean over the tokens of the batch, as in the authors' code.

    References
    ----------
    .. [1] Wu et al., On the Generalization of SFT: A Reinforcement Learning Perspective with
       Reward Rectification, 2025, the loss of Dynamic Fine-Tuning. https://arxiv.org/abs/2508.05629
    """

    name: ClassVar[str] = "dft"

    def loss(self, hidden: "Tensor", head: OutputHead, labels: Labels, weights: "Tensor") -> Loss:
        """Return the weighted sum of probability times NLL; no gradient through the probability."""
        nll = token_nll(hidden, head, labels)
        probability = nll.detach().neg().exp()
        return Loss((nll * probability * weights).sum(), nll.detach())
