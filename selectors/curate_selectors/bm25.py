"""BM25: the examples whose words a target set asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np

from curate import (
    Budget,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    TargetBM25,
    View,
    another_language,
    flat_lists,
    register,
    select_by_scores,
)


@register
@final
@dataclass(frozen=True)
class BM25(Selector):
    """The examples that share the rarer words of a target set, by Okapi BM25.

    Every target example is a query, every example of the pool a document [1]_. Target examples, in a seeded
    order, take turns: each takes its best document that is left, until the budget is full. No model. Words
    are runs of letters and digits in lower case, without stemming or stop words; a word that a query
    repeats counts as often. The inverse document frequency is Lucene's, which is never negative. Ties,
    to 10 decimals, go to the smaller id. O(words) to index; memory O(words of the pool).

    Deviations: BM25 is a ranking for search; its use with turns follows the comparisons below.

    Evidence: on a leaderboard of data attribution (bergson: how much removing what a method names hurts) BM25,
    at 0.220, is ahead of TRAK (0.138) and of the cosine of gradients (0.156). It is the baseline that costs
    nothing, and methods with a model should beat it. This project has measured the share of target-like
    examples among what is selected (`reports/target-share.md`: above
    random for 7 of 9 categories). In a proof of three of these methods towards 60 examples of question
    generation no difference from random was shown for it (`reports/proof-towards.md`: -0.021, -0.048 to +0.006 nats
    a token), and the other two did worse.

    Parameters
    ----------
    text
        What of an example of the pool is searched: ``full``, ``prompt`` or ``response``.
    query
        What of a target example is asked for.
    aggregate
        ``round-robin``; ``max``: by the highest score for any target example; ``sum``: by the sum of
        the scores for all.
    k1
        How soon the repetitions of a word stop to count, at least 0.
    b
        How much long documents are held back, 0 to 1.

    References
    ----------
    .. [1] Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, Foundations and
       Trends in Information Retrieval 3, 2009. https://doi.org/10.1561/1500000019

    Examples
    --------
    >>> sorted(BM25(query="prompt").requires())
    ['query', 'words']
    """

    name: ClassVar[str] = "bm25"
    purpose: ClassVar[str] = "towards a target set"
    uses_target: ClassVar[bool] = True
    text: Literal["full", "prompt", "response"] = "full"
    query: Literal["full", "prompt", "response"] = "full"
    aggregate: Literal["round-robin", "max", "sum"] = "round-robin"
    k1: float = 1.5
    b: float = 0.75

    def __post_init__(self) -> None:
        if not self.k1 >= 0:
            raise ConfigError(f"bm25.k1={self.k1:g} must be at least 0; 1.5 is usual")
        if not 0 <= self.b <= 1:
            raise ConfigError(f"bm25.b={self.b:g} must be 0 to 1; 0.75 is usual")

    def requires(self) -> Mapping[str, Need | Expression]:
        needs = {"words": Need("words", None, {"part": self.text})}
        if self.query != self.text:
            needs["query"] = Need("words", None, {"part": self.query})
        return needs

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        asked = "words.hashes" if self.query == self.text else "query.hashes"
        scores = TargetBM25.of(
            flat_lists(view, "words.hashes"), flat_lists(view.towards(), asked),
            k1=self.k1, b=self.b, together=self.aggregate == "sum",
        )  # fmt: skip
        selection = select_by_scores(
            self.name, scores, view, np.arange(len(view)), budget, rng,
            aggregate="round-robin" if self.aggregate == "round-robin" else "max",
            measure="BM25", excluded={}, warnings=another_language(scores.unknown, "words", "example"),
            summed=self.aggregate == "sum",
        )  # fmt: skip
        return replace(selection, warnings=selection.warnings or _unrelated(selection))


def _unrelated(selection: Selection) -> tuple[str, ...]:
    """Say how many picks share no word with the target set: the budget asked for more than do."""
    n = int(np.count_nonzero(selection.gains == 0)) if selection.gains is not None else 0
    if not n:
        return ()
    return (f"{n:,} of {len(selection.indices):,} picks share no word with the target set",)
