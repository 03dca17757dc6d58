"""CLEAR's Auto-Correct: replace responses of low confidence where a better one is written."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, final

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Generate,
    Judge,
    Outcome,
    Procedure,
    Result,
    Revise,
    Select,
    Step,
    Train,
    register,
    training_settings,
)

LITTLE_MASS: Final = 0.5


@register
@final
@dataclass(frozen=True)
class ClearCorrect(Procedure):
    """Keep confident responses, and let a model trained on them rewrite the others.

    CLEAR's Auto-Correct [1]_: keep what ``clear`` keeps; fine-tune the target model on that; let it
    answer the prompts of the rest; ask the original model which of the two responses
    is better, in both orders of presentation. A candidate replaces the response where the
    confidence of that verdict, ``0.7 O + 0.3 S``, is above ``eta`` and both orders agree; any other
    response of low confidence is dropped. The replacements are revisions: new examples with their
    parent's id, stored with the selection. `train`, `prove` and `export` read them; an
    export lists the originals in a separate file. The paper's final fine-tuning is up to you:
    train on the selection. Its iterations are repeats of this command on the exported data.

    The order of the result, and its gains: the confidence of a kept response, of the verdict on a
    replaced one. A ``budget`` limits what the filter keeps, and then the size of the result: the most
    confident of both.

    Deviations. The wording of the judge is ours, as are its third option (neither), the order that
    must not matter, and reading its choice from probabilities; ``mode=sample`` and
    ``reflection=generate`` decode as published. Answers that are empty, cut at ``max_new_tokens``
    or equal to the response are no candidates. A candidate that repeats an example of the result is
    dropped. Readers of the paper disagree on whether all responses or only those of low confidence
    are corrected. Thirteen fields, because they configure three steps.

    Cost: the confidence of every example, one fine-tuning, and for each example of low confidence
    an answer, and two short prompts with both responses and four with the verdict run once.

    Evidence: on the demo's pool, with a judge as small as the model, it replaced none of the wrong
    answers (`reports/auto-correct.md`).

    Parameters
    ----------
    consistency, keep_fraction, reflection
        Of ``clear`` and its confidence; ``reflection`` also of the judge on its verdict.
    correct_scope
        ``low_confidence``, or ``all``: then a kept response is also replaced if the
        judge prefers the candidate.
    eta
        What the confidence of a verdict must exceed; 0.8 in the paper.
    mode, k
        ``logits``, or ``sample``: ``k`` verdicts an order, whose share for the candidate is O.
    epochs, lr, batch_tokens, template
        Of the fine-tuning. 1e-5 is the paper's rate; its number of epochs is not known to us. None for
        ``batch_tokens``: 16,384, or a quarter of what it trains on if that is less.
    max_new_tokens
        Maximum tokens of an answer, and of what the judge writes; 512 in the paper.
    least_mass
        Probability (median over verdicts) that a judge must give to the letters it can answer
        with; below it the command stops, since what it reads says nothing. Below 0.5 it warns.

    References
    ----------
    .. [1] Chen and Mueller, Automated Data Curation for Robust Language Model Fine-Tuning, 2024,
       section 3.2. https://arxiv.org/abs/2403.12776
    """

    name: ClassVar[str] = "clear-correct"
    purpose: ClassVar[str] = "corrected responses"
    budget_optional: ClassVar[bool] = True
    experimental: ClassVar[str] = (
        "built from descriptions, without official code or numbers to compare with; a weak judge "
        "corrects little, or wrongly"
    )
    consistency: Literal["nli", "embed", "likelihood"] = "nli"
    keep_fraction: float | None = None
    reflection: Literal["logits", "generate"] = "logits"
    correct_scope: Literal["low_confidence", "all"] = "low_confidence"
    eta: float = 0.8
    mode: Literal["logits", "sample"] = "logits"
    k: int = 5
    epochs: int = 3
    lr: float = 1e-5
    batch_tokens: int | None = None
    template: str = "auto"
    max_new_tokens: int = 512
    least_mass: float = 0.01

    def __post_init__(self) -> None:
        for name in ("k", "epochs", "batch_tokens", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"clear-correct.{name} must be at least 1, got {value}")
        if not 0 <= self.least_mass <= 1:
            raise ConfigError(
                f"clear-correct.least_mass is a probability, got {self.least_mass}; try 0.01"
            )
        if not 0 <= self.eta < 1:
            raise ConfigError(
                f"clear-correct.eta is a confidence from 0 up to less than 1, got {self.eta}; try 0.8"
            )
        if self.keep_fraction is not None and not 0 < self.keep_fraction < 1:
            raise ConfigError(
                f"clear-correct.keep_fraction is a share above 0 and below 1, got "
                f"{self.keep_fraction}; try 0.5, or none for the median"
            )

    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield filter, training, candidates, verdicts and the selection that follows."""
        if budget is not None and budget.counts_tokens:
            raise BudgetError(
                f"clear-correct counts examples, got budget {budget}: the length of new responses "
                "is not known beforehand; give 50% or 5000, or none for the median"
            )
        spent = None if budget is None else str(budget)
        kept = yield Select("clear", spent, self._filter(), None, seed)
        n_left = kept.facts["n_eligible"] - kept.facts["n_selected"]
        if n_left < 1:
            raise BudgetError(
                f"budget {budget} keeps all {kept.facts['n_selected']} examples that can be kept, "
                "and leaves none to correct; give less, such as 50%"
            )
        trained = yield Train(kept.id, self._settings(), "target", seed)
        others = (kept.id,) if self.correct_scope == "low_confidence" else ()
        ranked = self._filter() | {"keep_fraction": 1.0}
        questioned = yield Select("clear", None, ranked, None, seed, others)
        written = yield Generate(trained.id, questioned.id, self.max_new_tokens, 0.0, seed)
        judged = yield Judge(
            written.id, self.mode, self.reflection, self.k, self.max_new_tokens, seed=seed
        )
        self._check_mass(judged.facts["mass"])
        limit = None if budget is None else int(kept.facts["n_selected"])
        revised = yield Revise(kept.id, judged.id, self.eta, limit)
        return Outcome(revised.id, tuple(self._warnings(written, judged, revised)))

    def _check_mass(self, mass: float | None) -> None:
        """Raise `ConfigError` where the judge hardly ever answers with one of the letters."""
        if mass is not None and mass < self.least_mass:
            raise ConfigError(
                f"the judge's letters A, B and C carry {mass:.2g} of the probability (median), less than "
                f"clear-correct.least_mass={self.least_mass:g}: what is left between them is noise; "
                "let it write its verdicts with --set clear-correct.mode=sample, judge with "
                "another --model, or accept this with --set clear-correct.least_mass=0"
            )

    def _filter(self) -> dict[str, Any]:
        own: dict[str, Any] = {
            "consistency": self.consistency, "confidence.reflection": self.reflection,
        }  # fmt: skip
        if self.keep_fraction is not None:
            own["keep_fraction"] = self.keep_fraction
        return own

    def _settings(self) -> dict[str, Any]:
        return training_settings(self.epochs, self.lr, self.template, self.batch_tokens)

    def _warnings(self, written: Result, judged: Result, revised: Result) -> Iterator[str]:
        failed: Mapping[str, int] = written.facts["failed"]
        if failed:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in failed.items())
            yield f"{sum(failed.values()):,} of {written.facts['n_rows']:,} answers are no candidates: {reasons}"
        mass = judged.facts["mass"]
        if mass is not None and mass < LITTLE_MASS:
            yield (
                f"the judge's letters carry {mass:.2f} of the probability (median): its prompt does "
                "not fit this model; try --set clear-correct.mode=sample"
            )
        if not revised.facts["n_replaced"]:
            yield (
                f"no candidate was judged better with a confidence above {self.eta:g}: what is left "
                "is what the filter keeps"
            )
