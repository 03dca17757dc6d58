"""The tokens a model may write for the letter of a choice."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from curate.errors import ModelError
from curate.scorers.bsdetector.prompts import LETTERS

INSTEAD: Final = "--set confidence.reflection=generate"


def letter_tokens(
    tokenizer: Any, model: str, instead: str = INSTEAD
) -> Mapping[str, tuple[int, ...]]:
    """Return, for each letter, the ids of its spellings that are a single token.

    Spellings: the letter alone, after a space and after a bracket, in upper and lower case. Raises
    `ModelError`, which names the model and says what to type ``instead``, for a tokenizer that has
    none of them for some letter.
    """
    by_letter = {}
    for letter in LETTERS:
        written = [lead + form for form in (letter, letter.lower()) for lead in ("", " ", "(")]
        ids = dict.fromkeys(i for way in written for i in _single(tokenizer, way, letter))
        if not ids:
            raise ModelError(
                f"the tokenizer of model {model!r} has no single token for the choice {letter!r} "
                f"(tried {', '.join(map(repr, written))}), so its probability cannot be read; let "
                f"the model write its choice instead: {instead}"
            )
        by_letter[letter] = tuple(ids)
    return by_letter


def letter_log_probs(
    log_probs: Float[np.ndarray, "*n t"],
    tokens: Sequence[int],
    letters: Mapping[str, tuple[int, ...]],
) -> Float[np.ndarray, "*n 3"]:
    """Sum the probabilities of each letter's tokens; return their logarithms in order of letter.

    Parameters
    ----------
    log_probs
        Log-probabilities of ``tokens``.
    """
    place = {token: number for number, token in enumerate(tokens)}
    sums = [
        np.logaddexp.reduce(log_probs[..., [place[i] for i in letters[letter]]], axis=-1)
        for letter in LETTERS
    ]
    return np.stack(sums, axis=-1)


def _single(tokenizer: Any, text: str, letter: str) -> list[int]:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        return []
    written = tokenizer.decode(ids).strip().lstrip("(")
    return [int(ids[0])] if written.upper() == letter else []  # an unknown token is no letter
