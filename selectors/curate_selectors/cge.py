"""CGE: the examples that a fine-tuned model knows and its base model does not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np

from curate import (
    Budget,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    register,
)


@register
@final
@dataclass(frozen=True)
class CGE(Selector):
    """The examples that are most likely under a tuned model relative to its base model.

    The gain of an example is its novelty, log p_tuned - gamma log p_base as a mean over its tokens, in nats: what
    the data that the tuned model was trained on had, and the base model's had not [1]_. Pass the tuned
    model as ``--model`` and its base as ``--model-for reference``. Ties go to the smaller id; an
    example that one of the models could not score is left out. Gains can be of any sign.

    Deviations: the paper generates texts by this contrast; here examples of the pool are ranked by it, which the
    code we have seen calls extraction, with one base model for all (not the variant that trains it on what was
    taken). That code is a copy by others, not confirmed as the authors' own.

    Evidence: the authors find new domains, such as toxic texts and languages, in fine-tuning data by it. It shows
    what is new, not what is good: whether training on it helps is unknown to us, and this project has
    no proof of its own.

    Two forward passes; the base model's scores are kept for other tuned models.

    Parameters
    ----------
    gamma
        Weight of the base model; 1 as published, 0 ranks by the tuned model alone.
    score_tokens
        ``all`` tokens of the text, as published, or those of the ``response``.
    template
        Text template, or ``chat``.

    References
    ----------
    .. [1] What's New in My Data? Novelty Exploration via Contrastive Generation, ICLR 2025.
       https://arxiv.org/abs/2410.14765

    Examples
    --------
    >>> columns = {"tuned.mean_logp": np.array([-1.0, -1.0]), "base.mean_logp": np.array([-1.5, -4.0])}
    >>> columns |= {"tuned.n_tokens": np.array([5, 6]), "base.n_tokens": np.array([5, 6])}
    >>> view = View(np.array([b"a", b"b"]), columns)
    >>> CGE().select(view, Budget(1), np.random.default_rng(0)).indices.tolist()
    [1]
    """

    name: ClassVar[str] = "cge"
    purpose: ClassVar[str] = "fit to a model"
    experimental: ClassVar[str] = "built from the abstract and a copy of the code, for another use"
    gamma: float = 1.0
    score_tokens: Literal["all", "response"] = "all"
    template: str = "plain"

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < np.inf:
            raise ConfigError(f"cge.gamma={self.gamma:g} must be at least 0; try 1")

    def requires(self) -> Mapping[str, Need | Expression]:
        config = {"template": self.template, "score_tokens": self.score_tokens}
        return {
            "tuned": Need("likelihood", "target", config),
            "base": Need("likelihood", "reference", config),
        }

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        novelty = view.scores("tuned.mean_logp") - self.gamma * view.scores("base.mean_logp")
        known = np.flatnonzero(np.isfinite(novelty))
        n_without = len(view) - len(known)
        excluded = {"novelty is not finite": n_without} if n_without else {}
        considered = replace(view, excluded={**view.excluded, **excluded})
        ranking = known[np.argsort(-novelty[known].round(12), kind="stable")]
        indices = keep_within(ranking, budget, considered)
        gains = novelty[indices]
        reasons = [f"novelty {value:.4f} nats a token" for value in gains.tolist()]
        differ = view.scores("tuned.n_tokens")[known] != view.scores("base.n_tokens")[known]
        warnings = _other_tokens(int(differ.sum()), len(known))
        return Selection(indices, gains, None, reasons, excluded, warnings)


def _other_tokens(n_differ: int, n: int) -> tuple[str, ...]:
    if not n_differ:
        return ()
    warning = (
        f"the two models count the tokens of {n_differ:,} of {n:,} examples differently, and their means are each "
        "over their own: compare a tuned model with the base it was trained from"
    )
    return (warning,)
