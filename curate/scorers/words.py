"""The words of a text as numbers, for methods that compare examples by their words."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, Final, final

import numpy as np
from jaxtyping import Int

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import UndefinedScore
from curate.models.classifiers.text_model import list_column
from curate.models.text.templates import Part, part_of
from curate.registry import register

REMEMBERED: Final = 1 << 20  # words whose numbers a worker keeps
_WORD: Final = re.compile(r"\w+")


@register
@final
@dataclass(frozen=True)
class Words(RowScorer):
    """The words of a text in order, each as a number of 31 bits.

    A word is a run of letters, digits and underscores, in lower case; its number is a hash, so that a
    pool and a target set agree on it without a common vocabulary. Two of a million different words
    share a number for some 230 pairs. No model; O(words).

    Parameters
    ----------
    part
        ``full``: all turns; ``prompt``: all before the last; ``response``: the last.

    Examples
    --------
    >>> numbers("The cat, the dog").tolist() == numbers("the CAT: the dog!").tolist()
    True
    """

    name: ClassVar[str] = "words"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "hashes": Column("ints", "31-bit hash of each word in lower case, in order"),
    }
    part: Part = "full"

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        known: dict[str, int] = {}

        def score(examples: Sequence[Example]) -> Columns:
            hashes, reasons = list_column(examples, lambda example: self._numbers(example, known))
            return {"hashes": hashes, FAILURE: reasons}

        return score

    def _numbers(self, example: Example, known: dict[str, int]) -> Int[np.ndarray, " n"]:
        hashes = numbers(part_of(example, self.part), known)
        if not len(hashes):
            raise UndefinedScore("no_words")
        return hashes


def numbers(text: str, known: dict[str, int] | None = None) -> Int[np.ndarray, " n"]:
    """Return the numbers of a text's words, in order; ``known`` remembers those of words seen."""
    known = {} if known is None else known
    words = _WORD.findall(text.lower())
    if len(known) >= REMEMBERED:
        known.clear()
    for word in set(words):
        if word not in known:
            hashed = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4).digest()
            known[word] = int.from_bytes(hashed, "little") >> 1
    return np.fromiter(map(known.__getitem__, words), dtype=np.int32, count=len(words))
