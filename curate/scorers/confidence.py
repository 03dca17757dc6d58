"""BSDetector's confidence in a response: whether the model's own answers and its judgement agree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, final

import numpy as np

from curate.contracts import Column, Columns, DerivedScorer, Example, LoadContext, Need, Role
from curate.errors import ConfigError
from curate.registry import register
from curate.scorers.bsdetector.answers import PromptStyle
from curate.scorers.bsdetector.formula import combine, observed_consistency

Consistency = Literal["nli", "embed", "likelihood"]

NO_NLI: Final = (
    "or take a fallback that needs no NLI model, whose scores are marked and never mixed with these: "
    "--set confidence.consistency=likelihood"
)


@register
@final
@dataclass(frozen=True)
class Confidence(DerivedScorer):
    """How confident a model is in the last response, ``C = beta O + (1 - beta) S``, in [0, 1].

    CLEAR [1]_ scores each response this way with the model to be fine-tuned, beforehand, and its
    Auto-Filter drops the lower half. O is observed consistency: how well the response agrees with
    the model's own sampled answers, ``mean(alpha s + (1 - alpha) r)``. S is self-reflection: what the
    model answers when asked whether the response is correct. BSDetector [2]_ defines both.

    The parts are separate score sets (``samples``, ``nli-consistency``, ``reflection``, ...), computed
    first and kept: another alpha, beta or k up to ``k_max`` runs no model. ``method`` names what
    stands for consistency; the fallbacks ``embed`` (an encoder instead of the NLI model) and
    ``likelihood`` (mean probability of the response's tokens, no samples at all) are ours. Being
    part of the configuration, they give different score sets, so no median mixes them.

    Deviations: self-reflection is read from the probabilities of the letters in both orders
    (``generate`` decodes, as published); k, and the handling of long or unparsed answers, are our
    choices, because the text of the papers' method sections was not available to us. Eleven
    fields, because they include those of the samples.

    Parameters
    ----------
    consistency
        ``nli``, or a fallback.
    reflection
        ``logits`` or ``generate``.
    k
        Number of samples that count: the first ones.
    k_max
        Number of samples drawn and kept.
    alpha
        Weight of similarity against equality, [0, 1].
    beta
        Weight of consistency against reflection, [0, 1].
    prompt, max_new_tokens, seed, server, served_model
        Of the samples; see the scorer ``samples``.

    References
    ----------
    .. [1] Chen and Mueller, Automated Data Curation for Robust Language Model Fine-Tuning, 2024,
       section 3.1. https://arxiv.org/abs/2403.12776
    .. [2] Chen and Mueller, Quantifying Uncertainty in Answers from any Language Model and
       Enhancing their Trustworthiness, ACL 2024, equations 1 and 2.
       https://arxiv.org/abs/2308.16175

    Examples
    --------
    >>> [need.scorer for need in Confidence().requires().values()]
    ['nli-consistency', 'reflection']
    >>> [need.scorer for need in Confidence("likelihood", "generate").requires().values()]
    ['token-probability', 'reflection-generated']
    """

    name: ClassVar[str] = "confidence"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "consistency": Column(
            "float", "agreement with the model's own answers, O; higher is better"
        ),
        "reflection": Column(
            "float", "what the model says about the response, S; higher is better"
        ),
        "confidence": Column("float", "beta O + (1 - beta) S; higher is better"),
        "reflection_mass": Column("float", "how far the reflection can be trusted; see reflection"),
        "n_parsed": Column("int", "samples whose answer was found where the prompt asked for it"),
        "method": Column("text", "what stands for consistency: nli, embed or likelihood"),
    }
    consistency: Consistency = "nli"
    reflection: Literal["logits", "generate"] = "logits"
    k: int = 5
    k_max: int = 5
    alpha: float = 0.8
    beta: float = 0.7
    prompt: PromptStyle = "cot"
    max_new_tokens: int = 512
    seed: int = 0
    server: str = ""
    served_model: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.k_max:
            raise ConfigError(
                f"confidence.k={self.k} of confidence.k_max={self.k_max} samples cannot count; "
                "give k from 1 to k_max, or draw more: --set confidence.k_max=K"
            )
        if self.server and self.consistency == "likelihood":
            raise ConfigError(
                f"confidence.server={self.server!r} is to write answers, but "
                "confidence.consistency=likelihood reads none; leave one of them out"
            )
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            if not 0 <= value <= 1:
                raise ConfigError(
                    f"confidence.{name} is a weight from 0 to 1, got {value}; try 0.8"
                )

    def requires(self) -> Mapping[str, Need]:
        return {"consistency": self._consistency(), "reflection": self._reflection()}

    def load(self, context: LoadContext) -> Callable[[Sequence[Example], Columns], Columns]:
        def score(examples: Sequence[Example], read: Columns) -> Columns:
            n = len(examples)
            observed, parsed = self._observed(read)
            reflected = read["reflection.reflection"]
            both = zip(observed, reflected.tolist(), strict=True)
            return {
                "consistency": observed,
                "reflection": reflected,
                "confidence": np.array([combine(o, s, self.beta) for o, s in both]),
                "reflection_mass": read["reflection.mass"],
                "n_parsed": parsed,
                "method": np.array([self.consistency] * n, dtype=object),
            }

        return score

    def _observed(self, read: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Return the observed consistency and the parsed samples of each example."""
        if self.consistency == "likelihood":
            observed = np.asarray(read["consistency.mean_probability"], dtype=np.float64)
            return observed, np.zeros(len(observed), dtype=np.int64)
        rows = zip(read["consistency.similarity"], read["consistency.match"], strict=True)
        observed = np.array(
            [observed_consistency(s[: self.k], r[: self.k], self.alpha) for s, r in rows]
        )
        parsed = np.array([int(np.sum(flags[: self.k])) for flags in read["consistency.parsed"]])
        return observed, parsed

    def _consistency(self) -> Need:
        if self.consistency == "likelihood":
            return Need("token-probability", "target")
        samples: dict[str, Any] = {
            "k": self.k_max, "prompt": self.prompt, "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
        }  # fmt: skip
        if self.server:
            samples |= {"server": self.server, "served_model": self.served_model}
        if self.consistency == "embed":
            return Need("embedding-consistency", "encoder", samples)
        return Need("nli-consistency", "nli", samples, NO_NLI)

    def _reflection(self) -> Need:
        decoded = self.reflection == "generate"
        return Need("reflection-generated" if decoded else "reflection", "target")
