"""CLEAR's Auto-Filter with the expensive confidence only where it decides."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, final

from curate import (
    Budget,
    ConfigError,
    Outcome,
    Procedure,
    Result,
    Score,
    Select,
    Step,
    Union,
    register,
)

CHEAP: Final[Mapping[str, str]] = {"consistency": "likelihood"}
HALF: Final[Mapping[str, str]] = {**CHEAP, "keep_fraction": "0.5"}


@register
@final
@dataclass(frozen=True)
class ClearCascade(Procedure):
    """CLEAR's filter with its full confidence only for the examples near the threshold.

    Every example gets the cheap confidence of `curate.scorers.confidence.Confidence`: the
    likelihood of its response and the self-reflection read from probabilities, two passes that
    write no answers. Ranked by it, the examples above a band around the threshold are kept and
    those below are dropped. Inside the band the full confidence [1]_, [2]_, from sampled answers,
    ranks the examples again, and as many are kept as are needed for the total: exactly half of the
    scored examples, or the budget. The two confidences are never compared with each other: each
    ranks its own examples, and no median sees both.

    Ours, not CLEAR's: what it saves is the full confidence of everything outside the band, and what
    it loses are the examples that the two confidences would move across it. With ``band=1`` and
    no budget it is ``clear`` with ``keep_fraction=0.5``. The selection's warnings say how many
    examples had the full score and what that saved. Gains are confidences, of the cheap kind above
    the band and of the full kind inside. With a token budget the band lies around the last example
    that fits. Eight fields, because they include those of the full confidence.

    Evidence: not measured here; of its parts see `clear` and `clear-correct`.

    Parameters
    ----------
    band
        Share of the scored examples in the band, half on either side of the threshold, above 0 and
        up to 1.
    consistency
        Of the full confidence: ``nli`` as published, or our fallback ``embed``.
    reflection
        Of the full confidence: ``logits``, or ``generate`` as published.
    k, prompt, max_new_tokens
        Of the sampled answers.
    server, served_model
        A server that writes the sampled answers; see the scorer ``samples``.

    References
    ----------
    .. [1] Chen and Mueller, Automated Data Curation for Robust Language Model Fine-Tuning, 2024,
       section 3.1. https://arxiv.org/abs/2403.12776
    .. [2] Chen and Mueller, Quantifying Uncertainty in Answers from any Language Model and
       Enhancing their Trustworthiness, ACL 2024. https://arxiv.org/abs/2308.16175
    """

    name: ClassVar[str] = "clear-cascade"
    purpose: ClassVar[str] = "quality and difficulty"
    budget_optional: ClassVar[bool] = True
    experimental: ClassVar[str] = (
        "a shortcut of ours; how often the cheap confidence drops what the full one would keep "
        "depends on the pool"
    )
    band: float = 0.3
    consistency: Literal["nli", "embed"] = "nli"
    reflection: Literal["logits", "generate"] = "logits"
    k: int = 5
    prompt: Literal["cot", "plain"] = "cot"
    max_new_tokens: int = 512
    server: str = ""
    served_model: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.band <= 1:
            raise ConfigError(
                f"clear-cascade.band is a share above 0 and up to 1, got {self.band}; try 0.3"
            )

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield the cheap score and what it keeps and drops, then the full one in between."""
        cheap = yield Score("confidence", CHEAP)
        kept = yield self._cheap(None if budget is None else str(budget), seed)
        n, n_kept = int(kept.facts["n_eligible"]), int(kept.facts["n_selected"])
        low, high = band_of(n, n_kept, self.band)
        above = (yield self._cheap(str(low), seed)) if low else None
        upper = () if above is None else (above.id,)
        band = yield self._cheap(str(high - low), seed, upper)
        full = yield Score("confidence", self._full(), None, band.id)
        scored = yield self._inside(None, seed, band, full)
        n_scored = int(scored.facts["n_selected"])
        wanted = min(n_kept - low, n_scored)
        left = str(wanted) if budget is None else self._left(budget, kept, above, wanted)
        inside = yield self._inside(left, seed, band, full)
        united = yield Union((*upper, inside.id))
        said = (*self._said(n, low, high, n_scored, n_kept, full), _cost(cheap))
        return Outcome(united.id, said)

    def _cheap(self, budget: str | None, seed: int, without: tuple[str, ...] = ()) -> Select:
        return Select("clear", budget, HALF if budget is None else CHEAP, None, seed, without)

    def _inside(self, budget: str | None, seed: int, band: Result, full: Result) -> Select:
        config: dict[str, Any] = {"consistency": self.consistency}
        if budget is None:
            config["keep_fraction"] = "1.0"
        return Select("clear", budget, config, band.id, seed, (), {"confidence": full.id})

    def _full(self) -> dict[str, Any]:
        return {
            "consistency": self.consistency, "reflection": self.reflection,
            "k": self.k, "k_max": self.k, "prompt": self.prompt,
            "max_new_tokens": self.max_new_tokens,
            "server": self.server, "served_model": self.served_model,
        }  # fmt: skip

    def _left(self, budget: Budget, kept: Result, above: Result | None, wanted: int) -> str:
        """Return what the budget leaves for the band: a count, or tokens."""
        if not budget.counts_tokens:
            return str(wanted)
        total = budget.amount if budget.unit == "tokens" else kept.facts["n_tokens"]
        spent = 0 if above is None else above.facts["n_tokens"]
        return str(Budget(int(total - spent), "tokens"))

    def _said(
        self, n: int, low: int, high: int, n_scored: int, n_kept: int, full: Result
    ) -> Generator[str, None, None]:
        n_band = high - low
        each = full.facts["tokens"] / full.facts["n_examples"]
        tokens, whole = round(each * n_band), round(each * n)
        yield (
            f"full confidence ({self.consistency}) for {n_scored:,} of {n:,} examples, ranks "
            f"{low + 1:,} to {high:,} of the cheap one, for {tokens:,} tokens; all of them would "
            f"take about {whole:,}, so about {whole - tokens:,} ({1 - n_band / n:.0%}) are saved"
        )
        if low:
            yield (
                f"gains of the first {low:,} are the cheap confidence, those of the rest the full "
                "one; do not compare them"
            )
        if n_scored < n_kept - low:
            yield (
                f"{n_band - n_scored:,} of the {n_band:,} examples in the band have no full "
                f"confidence, so {n_kept - low - n_scored:,} fewer are kept"
            )


def _cost(cheap: Result) -> str:
    return (
        f"the cheap confidence took {cheap.facts['tokens']:,} tokens for the "
        f"{cheap.facts['n_examples']:,} examples of the pool, its reflection included"
    )


def band_of(n: int, n_kept: int, share: float) -> tuple[int, int]:
    """Return the first rank of a band around a threshold, and the one after its last.

    Half of the band lies on either side, as far as there are examples; at least one above it.

    Examples
    --------
    >>> band_of(100, 50, 0.3), band_of(100, 5, 0.3), band_of(3, 1, 0.1)
    ((35, 65), (0, 20), (0, 2))
    """
    width = max(2, round(share * n))
    upper = width // 2
    return max(0, n_kept - upper), min(n, n_kept + width - upper)
