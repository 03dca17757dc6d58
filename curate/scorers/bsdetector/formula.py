"""BSDetector's arithmetic: from similarities and reflections to one confidence. No model here."""

from typing import Final

import numpy as np
from jaxtyping import Float, Shaped

VALUES: Final = (1.0, 0.0, 0.5)  # of the choices correct, incorrect, not sure


def symmetric_similarity(forward: float, backward: float) -> float:
    """Return one minus the mean probability of contradiction over both orders of a pair.

    Examples
    --------
    >>> symmetric_similarity(0.5, 0.0) == symmetric_similarity(0.0, 0.5) == 0.75
    True
    """
    return 1 - (forward + backward) / 2


def observed_consistency(
    similarity: Float[np.ndarray, " k"], match: Shaped[np.ndarray, " k"], alpha: float
) -> float:
    """Return the mean of ``alpha s + (1 - alpha) r`` over samples, in [0, 1].

    Parameters
    ----------
    similarity
        How well each sample agrees with the response, in [0, 1].
    match
        1 where a sample equals the response, else 0.
    alpha
        Weight of the similarity.

    Examples
    --------
    >>> observed_consistency(np.array([1.0, 0.5]), np.array([1, 0]), 0.8)
    0.7
    """
    mixed = alpha * np.asarray(similarity, np.float64) + (1 - alpha) * np.asarray(match, np.float64)
    return float(mixed.mean())


def expected_choice(log_probs: Float[np.ndarray, " *n 3"]) -> Float[np.ndarray, " *n"]:
    """Return the expected value of a choice between correct (1), incorrect (0) and not sure (1/2).

    Parameters
    ----------
    log_probs
        Log-probabilities or logits in that order, on any common scale: they are renormalised.

    Examples
    --------
    >>> round(float(expected_choice(np.array([2.0, 0.0, 1.0]))), 4)
    0.7876
    """
    shifted = np.exp(log_probs - log_probs.max(axis=-1, keepdims=True))
    probability = shifted / shifted.sum(axis=-1, keepdims=True)
    value: Float[np.ndarray, " *n"] = probability @ np.array(VALUES)
    return value


def combine(consistency: float, reflection: float, beta: float) -> float:
    """Return the confidence ``beta O + (1 - beta) S``.

    Examples
    --------
    >>> round(combine(0.91361, 1.0, 0.7), 5)
    0.93953
    """
    return beta * consistency + (1 - beta) * reflection
