"""What goes through a language model and what comes back: renderings, segments and statistics."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float

from curate.errors import UndefinedScore


@final
@dataclass(frozen=True, slots=True)
class Rendering:
    """Everything that determines the token ids and scored positions of one segment.

    Parameters
    ----------
    template
        A text template of `curate.models.text.templates`, or ``chat`` for the tokenizer's own.
    part
        ``full``: prompt and response. ``response``: the scored turns alone, after ``lead``.
    lead
        Unscored text in front of a lone response.
    turns
        Which assistant turns are scored: ``all`` or the ``last``.
    boundary
        ``offsets``: the whole text is tokenised once, and a token that straddles the start of a
        response belongs to it. ``separate``: the pieces are tokenised one by one.
    max_length
        Cap in tokens below the model's own context, or None.
    scored
        ``response``: the tokens of the assistant turns. ``all``: every token that has one before it.
    """

    template: str
    part: Literal["full", "response"] = "full"
    lead: str = ""
    turns: Literal["all", "last"] = "all"
    boundary: Literal["offsets", "separate"] = "offsets"
    max_length: int | None = None
    scored: Literal["response", "all"] = "response"


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """One run of an example through the model: a name within its scorer, and the rendering."""

    name: str
    rendering: Rendering


class Stat(Enum):
    """What the one-pass kernel can emit per segment; a pass computes only what is asked for."""

    NLL = "nll"
    ENTROPY = "entropy"
    HEAD_GRAM = "head_gram"
    MEAN_HIDDEN = "mean_hidden"
    WEIGHTED_HIDDEN = "weighted_hidden"
    LAST_HIDDEN = "last_hidden"


POOLED: Final = (Stat.MEAN_HIDDEN, Stat.WEIGHTED_HIDDEN, Stat.LAST_HIDDEN)
"""The statistics that are vectors of a whole segment."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class SegmentStats:
    """What one pass measured on one segment of one example. All float64.

    A segment of several rows (turns in contexts of their own) counts as one: its tokens stand in the
    order of the turns, and norms are those of the mean loss over all of them.

    Parameters
    ----------
    nll
        Negative log-likelihood in nats of each scored token, (T,), in order.
    is_end
        Which scored positions are the end of a turn (EOS or an end-of-turn marker), (T,); whether
        they count is the scorer's decision.
    truncated
        Whether at least one token of the segment did not fit the context.
    n_tokens
        Tokens of the segment's rows, scored or not.
    entropy
        Entropy in nats of the predictive distribution at each scored position, (T,).
    head_inner, head_sq_norm
        For the mean loss over scored positions: the inner product of the LM head's weight with its
        gradient, and the squared Frobenius norm of that gradient.
    head_weight_sq_norm
        Squared Frobenius norm of the LM head's weight.
    mean_hidden, weighted_hidden, last_hidden
        Pooled final hidden states over all tokens of the segment's last row but the appended end
        token, (dim,).
    """

    nll: Float[np.ndarray, " T"]
    is_end: Bool[np.ndarray, " T"]
    truncated: bool
    n_tokens: int
    entropy: Float[np.ndarray, " T"] | None = None
    head_inner: float | None = None
    head_sq_norm: float | None = None
    head_weight_sq_norm: float | None = None
    mean_hidden: Float[np.ndarray, " dim"] | None = None
    weighted_hidden: Float[np.ndarray, " dim"] | None = None
    last_hidden: Float[np.ndarray, " dim"] | None = None

    def counted(self, *, score_end: bool) -> Bool[np.ndarray, " T"]:
        """Return which scored positions count, with ends of turns or without, (T,).

        Raises `UndefinedScore` where none does.
        """
        counts: Bool[np.ndarray, " T"] = ~self.is_end | score_end
        if not counts.any():
            raise UndefinedScore("no_scored_tokens")
        return counts
