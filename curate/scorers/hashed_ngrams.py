"""The words and pairs of words of a text in buckets, as DSIR counts them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import ClassVar, Final, final

import numpy as np
from jaxtyping import Int

from curate.contracts import FAILURE, Column, Columns, Example, LoadContext, Role, RowScorer
from curate.errors import ConfigError, UndefinedScore
from curate.models.classifiers.text_model import list_column
from curate.models.text.templates import part_of
from curate.registry import register

REMEMBERED: Final = 1 << 21  # n-grams whose buckets a worker keeps
MOST_BUCKETS: Final = 1 << 30
_TOKEN: Final = re.compile(r"\w+|[^\w\s]+")


@register
@final
@dataclass(frozen=True)
class HashedNgrams(RowScorer):
    """Every word and every pair of neighbouring words of an example, as the number of its bucket.

    Tokens are runs of word characters and runs of punctuation, in lower case, of prompt and response;
    the bucket of a token, or of two with a space between, is its SHA-256 modulo the number of buckets,
    as in the code of DSIR [1]_. Words come first, then pairs. No model; O(words).

    Parameters
    ----------
    buckets
        How many there are; the paper has 10,000.

    References
    ----------
    .. [1] Xie, Santurkar, Ma and Liang, Data Selection for Language Models via Importance Resampling,
       NeurIPS 2023. https://arxiv.org/abs/2302.03169

    Examples
    --------
    >>> in_buckets("Good, good.", 10_000).tolist()
    [4364, 4887, 4364, 3960, 612, 6934, 9718]
    """

    name: ClassVar[str] = "hashed-ngrams"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "buckets": Column("ints", "bucket of each word in order, then of each pair of words"),
    }
    buckets: int = 10_000

    def __post_init__(self) -> None:
        if not 2 <= self.buckets <= MOST_BUCKETS:
            raise ConfigError(
                f"hashed-ngrams.buckets={self.buckets} must be 2 to {MOST_BUCKETS:,}; the paper has "
                "10000"
            )

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        known: dict[str, int] = {}

        def score(examples: Sequence[Example]) -> Columns:
            buckets, reasons = list_column(examples, lambda example: self._buckets(example, known))
            return {"buckets": buckets, FAILURE: reasons}

        return score

    def _buckets(self, example: Example, known: dict[str, int]) -> Int[np.ndarray, " n"]:
        buckets = in_buckets(part_of(example, "full"), self.buckets, known)
        if not len(buckets):
            raise UndefinedScore("no_words")
        return buckets


def in_buckets(
    text: str, buckets: int, known: dict[str, int] | None = None
) -> Int[np.ndarray, " n"]:
    """Return the buckets of a text's words and then of its pairs; ``known`` remembers those seen."""
    known = {} if known is None else known
    words = _TOKEN.findall(text.lower())
    grams = [*words, *(f"{word} {other}" for word, other in pairwise(words))]
    if len(known) >= REMEMBERED:
        known.clear()
    for gram in set(grams):
        if gram not in known:
            hashed = sha256(gram.encode("utf-8", "surrogatepass")).digest()
            known[gram] = int.from_bytes(hashed, "big") % buckets
    return np.fromiter(map(known.__getitem__, grams), dtype=np.int32, count=len(grams))
