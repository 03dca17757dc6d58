"""PVI: the examples whose prompt tells a model most about the response."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

import numpy as np
from jaxtyping import Bool, Int

from curate import (
    Budget,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    register,
)

NATS_A_BIT: Final = float(np.log(2.0))


@register
@final
@dataclass(frozen=True)
class PVI(Selector):
    """The examples with the highest pointwise V-information: bits that the prompt gives about the response.

    PVI is -log2 p_null(response) + log2 p(response | prompt), summed over the response's tokens [1]_. The
    second model is fine-tuned on the data, and the first on the same responses with empty prompts. High: the
    prompt makes the response easy for such a model; low or negative: hard, ambiguous or mislabelled.
    Pass the first as ``--model-for reference`` and the second as ``--model``. Ties, to 12 digits, go to
    the smaller id; truncated responses and those without a score are left out.

    Deviations: [1]_ defines PVI for one label a text, where the sum is one term; a sum over tokens grows with the
    length of a response, so ``per_token`` divides it. Both models are the user's; with a pretrained one
    for either this is a pointwise mutual information under that model, and no V-information of the data.

    Evidence: the authors find mislabelled examples of classification data at low PVI. Selecting instruction data
    by it has no evidence that we know of, and this project has no proof of its own.

    Two forward passes, of which the second is of responses alone.

    Parameters
    ----------
    which
        ``high`` PVI first, or ``low``, to look at what may be wrong.
    per_token
        Divide by the number of the response's tokens.
    template
        Text template of both.
    lead
        Text in front of a response for the null-input model, as in its training.

    References
    ----------
    .. [1] Ethayarajh, Choi and Swayamdipta, Understanding Dataset Difficulty with V-Usable Information,
       ICML 2022, equation 4. https://arxiv.org/abs/2110.08420

    Examples
    --------
    >>> columns = {"given.sum_logp": np.log([0.5, 0.5]), "null.sum_logp": np.log([0.25, 0.125])}
    >>> columns |= {f"{one}.truncated": np.zeros(2, dtype=bool) for one in ("given", "null")}
    >>> columns |= {f"{one}.n_tokens": np.ones(2, dtype=int) for one in ("given", "null")}
    >>> chosen = PVI().select(View(np.array([b"a", b"b"]), columns), Budget(2), np.random.default_rng(0))
    >>> chosen.indices.tolist(), chosen.gains.tolist()
    ([1, 0], [2.0, 1.0])
    """

    name: ClassVar[str] = "pvi"
    purpose: ClassVar[str] = "quality and difficulty"
    which: Literal["high", "low"] = "high"
    per_token: bool = False
    template: str = "plain"
    lead: str = ""

    def requires(self) -> Mapping[str, Need | Expression]:
        hint = "a model fine-tuned on the same responses with empty prompts"
        null = {"template": self.template, "lead": self.lead}
        return {
            "given": Need("likelihood", "target", {"template": self.template}),
            "null": Need("null-likelihood", "reference", null, hint),
        }

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        bits = (view.scores("given.sum_logp") - view.scores("null.sum_logp")) / NATS_A_BIT
        if self.per_token:
            bits = bits / np.maximum(view.scores("given.n_tokens"), 1)
        bits = bits.round(12)
        dropped = self._dropped(view, np.isfinite(bits))
        excluded = {reason: int(rows.sum()) for reason, rows in dropped.items() if rows.any()}
        known = np.flatnonzero(~np.logical_or.reduce([*dropped.values()]))
        considered = replace(view, excluded={**view.excluded, **excluded})
        keys = bits[known] if self.which == "low" else -bits[known]
        indices = keep_within(known[np.argsort(keys, kind="stable")], budget, considered)
        gains = bits[indices]
        unit = "bits a token" if self.per_token else "bits"
        reasons = [f"V-information {value:.4g} {unit}" for value in gains.tolist()]
        return Selection(indices, gains, None, reasons, excluded, self._unpaired(view, known))

    def _dropped(
        self, view: View, known: Bool[np.ndarray, " n"]
    ) -> dict[str, Bool[np.ndarray, " n"]]:
        cut = [view.column(f"{alias}.truncated").astype(bool) for alias in ("given", "null")]
        return {"V-information is not finite": ~known, "truncated": known & (cut[0] | cut[1])}

    def _unpaired(self, view: View, known: Int[np.ndarray, " m"]) -> tuple[str, ...]:
        """Warn where one side has another number of tokens: a sum over fewer is of less."""
        differ = view.scores("given.n_tokens")[known] != view.scores("null.n_tokens")[known]
        if not differ.any():
            return ()
        warning = (
            f"{int(differ.sum()):,} of {len(known):,} responses have another number of tokens without their "
            "prompt, as where nothing comes before the first: give the null-input model a lead, such as "
            "--set pvi.lead=TEXT"
        )
        return (warning,)
