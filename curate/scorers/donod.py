"""DONOD: what one gradient step on an example would do to the LM head."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from curate.contracts import Column, ForwardScorer, Rendering, Role, Segment, SegmentStats, Stat
from curate.errors import ConfigError, UndefinedScore
from curate.registry import register


@register
@final
@dataclass(frozen=True)
class DONOD(ForwardScorer):
    """Change of the LM head's norm, and norm of its change, after one SGD step on one example.

    DON (delta of norm) and NOD (norm of delta) [1]_ of an independent step from the same weights,
    in closed form: exact for plain SGD, with no backward pass and no optimiser step. To first order
    DON is proportional to mean entropy minus mean NLL (``before_minus_after``: the reverse), and
    NOD to the norm of the head's gradient, both of which are also columns, so that don and nod for
    any learning rate and sign follow without another pass. The mean over tokens makes NOD fall with
    length, about as T^-1/2.

    Experimental: the paper's text was not available to us and it has no code. Single step, plain SGD,
    mean reduction, and the LM head as the only layer are our reading; so is the sign of DON.
    With tied embeddings the head counts as a separate matrix (``output_only``).

    Parameters
    ----------
    lr
        Learning rate of the step, positive. It does not change rankings to first order.
    don_sign
        ``after_minus_before``: DON is positive where the step grows the norm, higher is better.
        ``before_minus_after`` inverts the criterion. The default is the one that tells swapped
        responses, see the method of this name.
    template
        ``chat`` for instruct models, or a text template.
    turns
        Score ``all`` assistant turns, or the ``last``.
    score_end
        Whether ends of turns count, as in training.

    References
    ----------
    .. [1] Hu et al., DONOD: Robust and Generalizable Instruction Fine-Tuning for LLMs via
       Model-Intrinsic Dataset Pruning, 2025. https://arxiv.org/abs/2504.14810

    Examples
    --------
    >>> don, nod = change_of_norm(inner=-0.15536240, sq_norm=0.26810311, weight_sq_norm=4.0, lr=0.1)
    >>> round(don, 8), round(nod, 8)
    (-0.00842065, 0.05177867)
    """

    name: ClassVar[str] = "donod"
    version: ClassVar[int] = 1
    experimental: ClassVar[str] = (
        "reconstructed from secondary sources; the sign of DON is unconfirmed"
    )
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {
        "don": Column("float", "change of the head's norm by the step; the method maximises it"),
        "nod": Column("float", "norm of the head's change by the step; the method minimises it"),
        "nll_minus_entropy": Column("float", "mean NLL minus mean entropy, nats a token"),
        "grad_norm": Column("float", "norm of the head's gradient of the mean loss"),
    }
    lr: float = 1e-5
    don_sign: Literal["before_minus_after", "after_minus_before"] = "after_minus_before"
    template: str = "chat"
    turns: Literal["all", "last"] = "all"
    score_end: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"donod.lr must be positive, got {self.lr!r}; try 1e-5")

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL, Stat.ENTROPY, Stat.HEAD_GRAM})

    def segments(self) -> tuple[Segment, ...]:
        return (Segment("full", Rendering(self.template, turns=self.turns)),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        full = stats["full"]
        if full.head_inner is None or full.head_sq_norm is None:
            raise UndefinedScore("no_scored_tokens")
        assert full.entropy is not None and full.head_weight_sq_norm is not None
        don, nod = change_of_norm(
            full.head_inner, full.head_sq_norm, full.head_weight_sq_norm, self.lr
        )
        counts = slice(None) if self.score_end else ~full.is_end
        return {
            "don": don if self.don_sign == "before_minus_after" else -don,
            "nod": nod,
            "nll_minus_entropy": float((full.nll - full.entropy)[counts].mean()),
            "grad_norm": math.sqrt(full.head_sq_norm),
        }


def change_of_norm(
    inner: float, sq_norm: float, weight_sq_norm: float, lr: float
) -> tuple[float, float]:
    """Return (DON, NOD) of one SGD step, DON as before minus after.

    Never a difference of two norms, which rounds to zero at ordinary learning rates.

    Parameters
    ----------
    inner
        Inner product of weight and gradient.
    sq_norm, weight_sq_norm
        Squared Frobenius norms of gradient and weight.
    lr
        Learning rate.
    """
    shrink = 2 * lr * inner - lr**2 * sq_norm
    after = math.sqrt(max(weight_sq_norm - shrink, 0.0))
    return shrink / (math.sqrt(weight_sq_norm) + after), lr * math.sqrt(sq_norm)
