"""What came of the demo, in two sentences, and how much of its progress is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from curate.contracts.progress import SCORING, TRIALS, Progress

SUBJECT: Final = "grape"
OWN: Final = "demo: "  # before what the demo itself says of its steps
_WARNING: Final = "warning:"
TRAINING: Final = "train the demo model"
_STAGES: Final = (TRAINING, SCORING, TRIALS)
_BETTER: Final = "{by:.3f} nats a token {side} than after as many random examples"
_NO_DIFFERENCE: Final = "no different from that after as many random examples, as far as shown"


@final
@dataclass(frozen=True)
class Outline:
    """A `Progress` that passes on the long stages, warnings, and what the demo itself says."""

    to: Progress

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Pass on a long stage."""
        if stage in _STAGES:
            self.to.start(stage, total, unit, done)

    def advance(self, stage: str, amount: int) -> None:
        """Pass on a long stage."""
        if stage in _STAGES:
            self.to.advance(stage, amount)

    def finish(self, stage: str) -> None:
        """Pass on a long stage."""
        if stage in _STAGES:
            self.to.finish(stage)

    def note(self, text: str) -> None:
        """Pass on a warning, or a step of the demo."""
        if text.startswith((_WARNING, OWN)):
            self.to.note(text)


def kept_sentence(report: Mapping[str, Any]) -> str:
    """Say how many examples the demo's method kept, and how many of them are wrong."""
    rows = {row["method"]: row for row in report["kept"]}
    kept, pool = rows[SUBJECT], rows["pool"]
    return (
        f"{SUBJECT.upper()} kept {kept['rows']:,} of {report['n_examples']:,} examples, one answer to each "
        f"question: {kept['wrong_share']:.0%} of its answers are wrong, {pool['wrong_share']:.0%} of the "
        "pool's."
    )


def trained_sentence(proof: Mapping[str, Any]) -> str:
    """Say what training on those gave on the held-out tasks, against random, and how sure that is."""
    result = proof["results"][0]
    arm = result["methods"][SUBJECT]
    difference = arm["delta_vs_random"]
    random = result["methods"]["random"]["mean"]
    found = arm["verdict"] in ("better", "worse")
    side = "lower" if difference["mean"] < 0 else "higher"
    level = f"{100 * difference['level']:.4g}%"  # corrected for the methods compared
    words = _BETTER.format(by=abs(difference["mean"]), side=side) if found else _NO_DIFFERENCE
    return (
        f"Trained on them, the model's loss on held-out tasks is {words} ({arm['mean']:.3f} against "
        f"{random:.3f}; {level} interval of the difference {difference['ci_low']:+.3f} to "
        f"{difference['ci_high']:+.3f}, {proof['seeds']} seeds)."
    )
