"""The number in a judge's reply: where it stands, and what else could have stood there."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from curate.models.generation.short_answers import Place, ShortAnswer
from curate.models.text.said import answer_start
from curate.scorers.judging.scale import read_scale

_RANGE: Final = r"\s*(?:[-\u2013]|to\b)\s*\d"  # as in "score 1-5: 4", which names the scale first
_NAMED: Final = re.compile(
    rf"\bscore(?:\W{{0,6}}\d+{_RANGE}+)?\W{{0,6}}(\d+(?:\.\d+)?)(?![\d.]*\d)(?!{_RANGE})",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"(?<![\d.])-?\d+(?:\.\d+)?(?![\d.]*\d)")
_OUT_OF: Final = re.compile(r"(?:/|\bout of)\s*$", re.IGNORECASE)  # before the end of the scale
_AROUND: Final = " \t\n([{*\"'`:#"


@final
@dataclass(frozen=True, slots=True)
class Reading:
    """A score, the probability of an answer on the scale, and whether it is only the number written."""

    score: float
    mass: float
    written: bool


def read_reply(answer: ShortAnswer, answers: Sequence[int]) -> Reading | None:
    """Return the expected answer where the number of a reply stands; None without such a number.

    Where the server gives no probabilities there, the score is the number as it is written.
    """
    found = number_in(answer.text, answers)
    if found is None:
        return None
    value, start = found
    place = _place_at(answer.places, answer.text, start)
    if place is not None and place.token.strip(_AROUND) == f"{value:g}":
        on_scale = {str(known): known for known in answers}
        listed = [
            (log_prob, on_scale[token.strip(_AROUND)])
            for token, log_prob in place.log_probs.items()
            if token.strip(_AROUND) in on_scale
        ]
        if listed:
            log_probs, values = zip(*listed, strict=True)
            return Reading(*read_scale(np.array(log_probs), values), written=False)
    return Reading(value, 1.0, written=True)


def number_in(text: str, answers: Sequence[int]) -> tuple[float, int] | None:
    """Return the number a reply gives and its place; None for prose, and for a number off the scale.

    It is the one after the word "score", or the only one there is; thoughts are passed over, and a
    reply that ends within one has no number.

    Examples
    --------
    >>> number_in("score: (4)", range(1, 6)), number_in("It deserves 3 or 4.", range(1, 6))
    ((4.0, 8), None)
    >>> number_in("**4**/5", range(1, 6))
    (4.0, 2)
    """
    start = answer_start(text)
    if start is None:
        return None
    named = list(_NAMED.finditer(text, start))
    if named:
        number, at = float(named[-1][1]), named[-1].start(1)
    else:
        listed = _NUMBER.finditer(text, start)
        found = [match for match in listed if not _OUT_OF.search(text[: match.start()][-12:])]
        if len(found) != 1:
            return None
        number, at = float(found[0][0]), found[0].start()
    return (number, at) if answers[0] <= number <= answers[-1] else None


def _place_at(places: Sequence[Place], text: str, start: int) -> Place | None:
    """Return the token that covers a place in the text; None if the tokens do not spell the text."""
    spelled = "".join(place.token for place in places)
    shift = spelled.find(text) if text else -1
    if shift < 0:
        return None
    end = -shift
    for place in places:
        end += len(place.token)
        if end > start:
            return place
    return None
