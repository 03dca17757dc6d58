"""The negative log-likelihood of each label, which every objective starts from."""

from typing import TYPE_CHECKING

from curate.contracts.training import Labels, OutputHead
from curate.train.steps.fused_head import FusedHead

if TYPE_CHECKING:
    from torch import Tensor


def token_nll(hidden: "Tensor", head: OutputHead, labels: Labels) -> "Tensor":
    """Return the NLL in nats of each label, (T,), with gradient; logits in float32 or float64."""
    from torch.nn.functional import cross_entropy

    if isinstance(head, FusedHead):
        return head.nll(hidden, labels.targets)
    logits = head.finish(head.project(hidden))
    return cross_entropy(logits, labels.targets, reduction="none")
