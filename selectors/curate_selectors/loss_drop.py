"""Loss drop: the examples that become easier for a model when it is trained on a target set."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np

from curate import (
    TARGET_SET,
    Budget,
    BudgetError,
    ConfigError,
    Outcome,
    Procedure,
    Result,
    Score,
    Select,
    Step,
    Train,
    register,
    training_settings,
)

SCORED: Final = "before.mean_logp"
DROP: Final = "1 - after.mean_logp / before.mean_logp"  # (L0 - L1) / L0 with L = -mean_logp
EVERYTHING: Final = 1_000_000_000  # of one prompt: no pool has so many responses


@register
@final
@dataclass(frozen=True)
class LossDrop(Procedure):
    """The examples whose response loses most of its loss when the model is trained on a target set.

    A short fine-tuning on the target examples moves the model towards them; what this makes likelier,
    relative to how likely it was, is what the target set asks for [1]_. The gain of an example is
    (L0 - L1) / L0, with L the mean negative log-probability per response token before and after: 1
    if all of the loss is gone, negative if it grew. Ties go to the smaller id; an example of
    loss 0 is left out.

    Deviations and choices of ours: we know the abstract alone, which names a short warm-up of limited
    capacity and a normalised drop at its end. Epochs, rate, the loss (response tokens and ends of turns) and
    its mean over tokens are ours. All weights are trained; ``lora_r`` limits the capacity to an adapter.
    The target examples are what is trained on: one that is in the pool too drops most of all, and a
    warning counts those that are selected.

    Evidence: the abstract says that the score is competitive with strong methods that attribute along a
    training run, at less cost; we know of no independent repetition. This project has measured the share of
    target-like examples among what is selected (`reports/target-share.md`: above random for 7 of 9
    categories, by less than the methods of embeddings on average), and has no proof against random yet.
    Where the loss was near 0 before, its relative drop is mostly noise.

    Cost: one fine-tuning on the target set, and two forward passes over the pool, of which the first is
    kept for other methods.

    Parameters
    ----------
    epochs, lr
        Of the fine-tuning.
    lora_r
        Rank of an adapter to train in place of all weights; its rate should be about ten times higher.
    batch_tokens
        Of the fine-tuning. None: 16,384, or a quarter of the target set if that is less.
    template
        Of the fine-tuning and of the loss: a text template, ``chat``, or ``auto``.

    References
    ----------
    .. [1] Yang, He and Cheng, Let the Target Select for Itself: Data Selection via Target-Aligned
       Paths, 2026. https://arxiv.org/abs/2605.09404

    Examples
    --------
    >>> steps = LossDrop().run(Budget.parse("10%"), seed=0)
    >>> next(steps).scorer
    'likelihood'
    """

    name: ClassVar[str] = "loss-drop"
    purpose: ClassVar[str] = "towards a target set"
    uses_target: ClassVar[bool] = True
    experimental: ClassVar[str] = "built from the abstract; its settings are our choice"
    epochs: int = 3
    lr: float = 2e-5
    lora_r: int | None = None
    batch_tokens: int | None = None
    template: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "lora_r", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"loss-drop.{name} must be at least 1, got {value}")
        if not 0 < self.lr < np.inf:
            raise ConfigError(
                f"loss-drop.lr={self.lr:g} must be positive; leave it out for the default"
            )

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield the loss before, the training, the loss after, and what dropped most."""
        if budget is None:
            raise BudgetError("loss-drop needs a budget; add --budget 10%, 5000 or 2Mtok")
        loss: dict[str, Any] = {"template": self.template, "score_end": True}
        before = yield Score("likelihood", loss, "target")
        known = {"before": before.id}
        ranked = {"rank": SCORED, "per_group": EVERYTHING}
        scored = yield Select("top-k", None, ranked, None, seed, (), known)
        trained = yield Train(TARGET_SET, self._settings(), "target", seed)
        after = yield Score("likelihood", loss, "target", scored.id, trained.id)
        known = {**known, "after": after.id}
        chosen = yield Select("top-k", str(budget), {"rank": DROP}, scored.id, seed, (), known)
        return Outcome(chosen.id)

    def _settings(self) -> dict[str, Any]:
        settings = training_settings(self.epochs, self.lr, self.template, self.batch_tokens)
        return settings if self.lora_r is None else {**settings, "lora.r": self.lora_r}
