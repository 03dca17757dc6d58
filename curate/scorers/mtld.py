"""How varied the words of a text are."""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError, UndefinedScore
from curate.models.classifiers.text_model import make_each
from curate.models.text.templates import part_of
from curate.registry import register

# Digits and dashes vanish, other ASCII punctuation separates: the words LexicalRichness counts.
_WORDS: Final = str.maketrans(
    {mark: " " for mark in string.punctuation} | {mark: None for mark in "0123456789-–—"}
)


@register
@final
@dataclass(frozen=True)
class MTLD(RowScorer):
    """Measure of textual lexical diversity: how many words a text runs before it repeats itself too much.

    The text is read until the share of distinct words among those read falls to the threshold;
    that is one factor, and counting restarts. What is left at the end is a partial factor,
    ``(1 - share) / (1 - threshold)``. The score is the number of words per factor,
    averaged over reading forwards and backwards [1]_; a text without a repeated word is one factor.
    Higher: more varied. Unlike the plain share of distinct words it hardly depends on length.
    Case, digits, dashes and punctuation are ignored, as in the package LexicalRichness, whose
    numbers these match. No model; O(words).

    Parameters
    ----------
    part
        ``response``: the last turn. ``full``: the turns before it as well, one a line.
    threshold
        Share of distinct words that ends a factor; 0.72 is usual.

    References
    ----------
    .. [1] McCarthy and Jarvis, MTLD, vocd-D, and HD-D: A validation study of sophisticated approaches
       to lexical diversity assessment, Behavior Research Methods 42, 2010.
       https://doi.org/10.3758/BRM.42.2.381

    Examples
    --------
    >>> diversity(["to", "be", "or", "not", "to", "be"], threshold=0.72)
    6.0
    """

    name: ClassVar[str] = "mtld"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "mtld": Column("float", "words per factor of lexical diversity; higher is more varied"),
        "n_words": Column("int", "words counted"),
    }
    part: Literal["response", "full"] = "response"
    threshold: float = 0.72

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError(
                f"mtld.threshold={self.threshold:g} is a share of distinct words, between 0 and 1; "
                "try 0.72"
            )

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        def score(examples: Sequence[Example]) -> Columns:
            made, places, reasons = make_each(examples, self._words)
            values, counts = np.full(len(examples), np.nan), np.zeros(len(examples), int)
            values[places] = [diversity(text_words, self.threshold) for text_words in made]
            counts[places] = [len(text_words) for text_words in made]
            return {"mtld": values, "n_words": counts, FAILURE: np.array(reasons, dtype=object)}

        return score

    def _words(self, example: Example) -> list[str]:
        text_words = words(part_of(example, self.part))
        if not text_words:
            raise UndefinedScore("no_words")
        return text_words


def words(text: str) -> list[str]:
    """Cut a text into lower-case words without digits, dashes and ASCII punctuation."""
    return text.lower().translate(_WORDS).split()


def diversity(words: Sequence[str], threshold: float) -> float:
    """Return the MTLD of at least one word."""
    return (_mean_factor(words, threshold) + _mean_factor(words[::-1], threshold)) / 2


def _mean_factor(words: Sequence[str], threshold: float) -> float:
    """Return the words per factor when a text is read in one direction."""
    factors = 0.0
    seen: set[str] = set()
    length = 0
    for word in words:
        length += 1
        seen.add(word)
        if len(seen) / length <= threshold:
            factors += 1
            seen, length = set(), 0
    if length:
        factors += (1 - len(seen) / length) / (1 - threshold)
    return len(words) / (factors or 1.0)
