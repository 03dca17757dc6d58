"""CLEAR's Auto-Filter: drop what the model has the least confidence in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    register,
)

LITTLE_MASS: Final = 0.5

_FALLBACKS: Final = {
    "embed": "similarity of embeddings, which does not see contradiction",
    "likelihood": "the probability of the response's tokens, without sampled answers",
}


@register
@final
@dataclass(frozen=True)
class Clear(Selector):
    """The examples whose response the model is most confident in.

    Without a budget this is CLEAR's Auto-Filter [1]_: keep the examples whose confidence lies
    strictly above the median of the pool. **The median drops half of the data by construction,
    clean or not**, and with ties at the median more than half. Gains are confidences; the highest
    come first, ties by id. O(n log n). Auto-Correct is a separate procedure.

    The confidence is BSDetector's, from the model to be fine-tuned, before fine-tuning. One score
    set has one kind of consistency, so the median never mixes kinds.

    Evidence: better than random in our proof on the demo's pool, a fifth of whose answers are wrong
    (`reports/proof-demo.md`: -0.086 nats a token). Its confidence tells swapped responses with AUROC 0.55
    to 0.59, no better than the mean log-probability (`reports/noise-auroc.md`).

    Parameters
    ----------
    keep_fraction
        Keep exactly this share of the scored examples instead, rounded down, at least one.
    consistency
        ``nli`` as published, or one of our fallbacks ``embed`` and ``likelihood``.

    References
    ----------
    .. [1] Chen and Mueller, Automated Data Curation for Robust Language Model Fine-Tuning, 2024,
       section 3.1. https://arxiv.org/abs/2403.12776

    Examples
    --------
    >>> columns = {"confidence.confidence": np.array([0.9, 0.2, 0.4, 0.6])}
    >>> columns |= {"confidence.reflection_mass": np.ones(4)}
    >>> columns |= {"confidence.method": np.array(["nli"] * 4, dtype=object)}
    >>> view = View(np.array([b"a", b"b", b"c", b"d"]), columns)
    >>> Clear().select(view, None, np.random.default_rng(0)).indices.tolist()
    [0, 3]
    """

    name: ClassVar[str] = "clear"
    purpose: ClassVar[str] = "quality and difficulty"
    budget_optional: ClassVar[bool] = True
    experimental: ClassVar[str] = (
        "built from descriptions, without official code or numbers to compare with; the median "
        "always drops half"
    )
    keep_fraction: float | None = None
    consistency: Literal["nli", "embed", "likelihood"] = "nli"

    def __post_init__(self) -> None:
        if self.keep_fraction is not None and not 0 < self.keep_fraction <= 1:
            raise ConfigError(
                f"clear.keep_fraction is a share above 0 and up to 1, got {self.keep_fraction}; "
                "try 0.5, or none for the median"
            )

    def requires(self) -> Mapping[str, Need | Expression]:
        hint = (
            "or take a fallback, which needs no NLI model: --set clear.consistency=likelihood"
            if self.consistency == "nli"
            else ""
        )
        return {"confidence": Need("confidence", None, {"consistency": self.consistency}, hint)}

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is not None and self.keep_fraction is not None:
            raise ConfigError(
                f"clear.keep_fraction={self.keep_fraction} and budget {budget} both say how many to "
                "keep; give one of them"
            )
        confidence = view.scores("confidence.confidence")
        scored = np.flatnonzero(np.isfinite(confidence))
        n_unscored = len(view) - len(scored)
        excluded = {"confidence is not finite": n_unscored} if n_unscored else {}
        order = scored[np.argsort(-confidence[scored], kind="stable")]
        considered = replace(view, excluded={**view.excluded, **excluded})
        notes = [*self._about_score(view)]
        if budget is not None:
            indices = keep_within(order, budget, considered)
        elif self.keep_fraction is not None:
            kept = Budget(self.keep_fraction, "eligible-share").share_of(len(order))
            indices = order[:kept]
        else:
            indices = above_median(order, confidence[scored])
            notes += _about_median(confidence[scored], len(indices))
        gains = confidence[indices]
        reasons = [f"confidence {value:.4f}" for value in gains.tolist()]
        return Selection(indices, gains, None, reasons, excluded, tuple(notes))

    def _about_score(self, view: View) -> Iterator[str]:
        for method in sorted(set(view.column("confidence.method").tolist()) & set(_FALLBACKS)):
            yield f"consistency is {_FALLBACKS[method]}, not the published NLI"
        mass = view.scores("confidence.reflection_mass")
        known = mass[np.isfinite(mass)]
        if len(known) and np.median(known) < LITTLE_MASS:
            yield (
                f"the letters of the reflection carry {np.median(known):.2f} of the probability "
                "(median): its prompt does not fit this model; try --set "
                "confidence.reflection=generate"
            )


def above_median(
    order: Int[np.ndarray, " n"], confidence: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " k"]:
    """Keep the first of a ranking by confidence: those strictly above the median.

    Raises `BudgetError` if none is, because the upper half is tied.
    """
    n_above = int((confidence > np.median(confidence)).sum()) if len(confidence) else 0
    if n_above == 0:
        raise BudgetError(
            f"none of {len(confidence)} confidences lies above their median: the upper half is tied; "
            "add --budget 50%, or --set clear.keep_fraction=0.5"
        )
    return order[:n_above]


def _about_median(confidence: Float[np.ndarray, " n"], n_kept: int) -> Iterator[str]:
    yield (
        f"kept {n_kept} of {len(confidence)} examples: the median drops half by construction, clean "
        "or not"
    )
    n_tied = int((confidence == np.median(confidence)).sum())
    if n_tied > 1:
        yield (
            f"{n_tied} examples tie at the median {np.median(confidence):.4f} and were dropped; "
            "clear.keep_fraction=0.5 keeps exactly half, ties by id"
        )
