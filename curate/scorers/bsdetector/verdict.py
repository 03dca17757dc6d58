"""Auto-Correct's arithmetic: the confidence in a verdict, and the decision about a response. No model here."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

import numpy as np
from jaxtyping import Float

from curate.scorers.bsdetector.formula import combine

Fate: TypeAlias = Literal["keep", "replace", "drop"]

BETA: Final = 0.7  # weight of consistency in the confidence of a verdict
ROUNDING: Final = 1e-12  # a confidence this little above the threshold equals it


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a judge prefers a candidate to the response it would replace.

    Parameters
    ----------
    consistency
        Mean over both orders of presentation of the probability, or share of samples, that the
        candidate is better; O.
    reflection
        Expected choice when asked whether that verdict is correct; S.
    confidence
        ``0.7 O + 0.3 S``, in [0, 1].
    agree
        Whether the candidate is the likeliest choice of the three in both orders.
    """

    consistency: float
    reflection: float
    confidence: float
    agree: bool


def verdict_of(choices: Float[np.ndarray, "2 3"], reflection: float) -> Verdict:
    """Return the verdict of a judge on one candidate.

    Parameters
    ----------
    choices
        Probabilities or shares of A, B and C: where the candidate is B, and where it is A.
    reflection
        Of the judge on the verdict that the candidate is better.

    Examples
    --------
    >>> verdict_of(np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1]]), 0.9)
    Verdict(consistency=0.7, reflection=0.9, confidence=0.76, agree=True)
    """
    consistency = float((choices[0, 1] + choices[1, 0]) / 2)
    agree = choices[0, 1] > max(choices[0, [0, 2]]) and choices[1, 0] > max(choices[1, 1:])
    return Verdict(consistency, reflection, combine(consistency, reflection, BETA), bool(agree))


def shares_of(log_probs: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Return the probabilities of A, B and C, renormalised to sum to one.

    Examples
    --------
    >>> shares_of(np.array([2.0, 0.0, 1.0])).round(4).tolist()
    [0.6652, 0.09, 0.2447]
    """
    shifted = np.exp(log_probs - log_probs.max(axis=-1, keepdims=True))
    shares: Float[np.ndarray, "*n 3"] = shifted / shifted.sum(axis=-1, keepdims=True)
    return shares


def decide(is_kept: bool, verdict: Verdict | None, above: float) -> Fate:
    """Decide whether a response is kept, replaced or dropped.

    It is replaced where a verdict has a confidence strictly above the threshold and both orders
    agree. Otherwise a response the filter keeps is kept, and any other dropped.

    Parameters
    ----------
    verdict
        None where there is no candidate, or none that could be judged.

    Examples
    --------
    >>> decide(False, Verdict(0.8, 0.8, 0.8, True), 0.8)
    'drop'
    """
    if verdict is not None and verdict.agree and verdict.confidence > above + ROUNDING:
        return "replace"
    return "keep" if is_kept else "drop"
