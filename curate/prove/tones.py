"""How a verdict of a proof is shown: whether it is good news, and a sign for that."""

from collections.abc import Mapping
from typing import Final, Literal

from curate.prove.statistics import BETTER, NO_DIFFERENCE, TOO_FEW_SEEDS, WORSE

Tone = Literal["good", "bad", "even", "open"]

# A sign for each tone, so that a verdict can be told apart without its colour.
SIGNS: Final[Mapping[Tone, str]] = {"good": "✓", "bad": "✗", "even": "≈", "open": "?"}
_TONES: Final[Mapping[str, Tone]] = {
    BETTER: "good",
    WORSE: "bad",
    NO_DIFFERENCE: "even",
    TOO_FEW_SEEDS: "open",
}


def tone_of(verdict: str) -> Tone | None:
    """Return what a verdict is drawn as; None for the baseline and for what does not apply.

    Examples
    --------
    >>> tone_of("better"), tone_of("the baseline")
    ('good', None)
    """
    return _TONES.get(verdict)
