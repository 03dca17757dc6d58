"""A scale of digits: its answers, their tokens, and the expected answer. No model here."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from curate.errors import ConfigError, ModelError

_SCALE: Final = re.compile(r"(\d)-(\d)")
_SPELLED: Final = ("{}", "Ġ{}", "▁{}", " {}")  # alone, and after a space as tokenizers write it


def answers_of(field: str, scale: str) -> tuple[int, ...]:
    """Return the answers of a scale such as ``1-5``, lowest first.

    Raises `ConfigError` that names the field for anything else.

    Examples
    --------
    >>> answers_of("judge.scale", "0-3")
    (0, 1, 2, 3)
    """
    match = _SCALE.fullmatch(scale.strip())
    lowest, highest = (int(match[1]), int(match[2])) if match else (0, 0)
    if lowest >= highest:
        raise ConfigError(
            f"{field}={scale!r} is not a scale; give its lowest and highest answer, which must be "
            "single digits because a judge is read at one token, such as 1-5 or 0-9"
        )
    return tuple(range(lowest, highest + 1))


def answer_tokens(
    tokenizer: Any, model: str, answers: Sequence[int]
) -> Mapping[int, tuple[int, ...]]:
    """Return, for each answer, the ids of the tokens that spell it, alone or after a space.

    Raises `ModelError`, which names the model, where the vocabulary has none for some answer.
    """
    vocabulary = tokenizer.get_vocab()
    found = {}
    for answer in answers:
        listed = [vocabulary[spelling] for spelling in _spellings(answer) if spelling in vocabulary]
        ids = [int(i) for i in listed if tokenizer.decode([i]).strip() == str(answer)]
        if not ids:
            raise ModelError(
                f"the tokenizer of judge {model!r} has no token of its own for the answer {answer}, so "
                "its probability cannot be read; use a judge whose tokenizer has the ten digits"
            )
        found[answer] = tuple(dict.fromkeys(ids))
    return found


def _spellings(answer: int) -> list[str]:
    return [spelling.format(answer) for spelling in _SPELLED]


def read_scale(
    log_probs: Float[np.ndarray, " t"], answer_of_token: Sequence[int]
) -> tuple[float, float]:
    """Return the expected answer and the probability that the judge answers on the scale at all.

    Parameters
    ----------
    log_probs
        Of tokens at the place of the answer, in the model's whole vocabulary.
    answer_of_token
        The answer that each of them spells; two tokens may spell one answer.

    Examples
    --------
    >>> value, mass = read_scale(np.log([0.2, 0.6, 0.1]), [1, 2, 2])
    >>> round(value, 4), round(mass, 4)
    (1.7778, 0.9)
    """
    if not len(log_probs):
        return float("nan"), 0.0
    shifted = np.exp(np.asarray(log_probs, np.float64) - np.max(log_probs))
    value = float(shifted @ np.asarray(answer_of_token, np.float64) / shifted.sum())
    return value, float(np.exp(np.logaddexp.reduce(np.asarray(log_probs, np.float64))))
