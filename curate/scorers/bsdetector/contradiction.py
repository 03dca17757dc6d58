"""Similarity of answers by natural language inference: what is compared, once each, in one stream."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Protocol, final

import numpy as np
from jaxtyping import Float, Int

from curate.scorers.bsdetector.answers import normalised, sentences
from curate.scorers.bsdetector.formula import symmetric_similarity

Pair = tuple[str, str]  # premise, hypothesis


class Contradicts(Protocol):
    """What judges pairs: an NLI model."""

    @property
    def limit(self) -> int | None:
        """Tokens a pair may have, or None."""

    def lengths(self, pairs: Sequence[Pair]) -> Int[np.ndarray, " n"]:
        """Return the tokens of each pair."""

    def contradictions(
        self, pairs: Sequence[Pair]
    ) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """Return the probability of contradiction of each pair, and the tokens it ran."""


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """How the samples of one example agree with its response.

    Parameters
    ----------
    similarity
        One per sample, in [0, 1]: 1 for a sample equal to the response, 0 where one of them is empty.
    n_pairs
        Distinct ordered pairs that were judged for this example.
    n_split
        Samples whose pair was too long for the model, so that it was judged sentence by sentence.
    tokens
        Tokens run for it; a pair that several examples need counts once, for the first.
    """

    similarity: tuple[float, ...]
    n_pairs: int
    n_split: int
    tokens: int


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """A response and the samples of its prompt; ``question`` goes in front of both sides, or ""."""

    response: str
    samples: tuple[str, ...]
    question: str = ""


def judge(comparisons: Sequence[Comparison], model: Contradicts) -> list[Judged]:
    """Judge every sample against its response, in both orders.

    Equal pairs run once, whatever example they come from, all in one stream sorted by length. A
    pair of more tokens than the model takes is split into sentences, without the question, and
    the most contradictory pair of sentences counts; a pair of sentences that is still too long
    is cut by the tokenizer.
    """
    distinct = [_distinct(comparison) for comparison in comparisons]
    ordered = list(
        dict.fromkeys(
            pair
            for comparison, samples in zip(comparisons, distinct, strict=True)
            for sample in samples.values()
            for pair in _orders(comparison, sample)
        )
    )
    lengths = model.lengths(ordered)
    long = {
        pair
        for pair, length in zip(ordered, lengths.tolist(), strict=True)
        if model.limit is not None and length > model.limit
    }
    stream = _Stream(long)
    for comparison, samples in zip(comparisons, distinct, strict=True):
        for sample in samples.values():
            stream.add(comparison, sample)
    stream.run(model)
    return [
        stream.judged(comparison, samples)
        for comparison, samples in zip(comparisons, distinct, strict=True)
    ]


@final
@dataclass(slots=True)
class _Stream:
    """Pairs to run, each once, and afterwards their probabilities and tokens not yet charged."""

    long: set[Pair]
    units: dict[Pair, int] = field(default_factory=dict)
    probability: Float[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0))
    tokens: list[int] = field(default_factory=list)

    def add(self, comparison: Comparison, sample: str) -> None:
        for order in self.parts(comparison, sample):
            for pair in order:
                self.units.setdefault(pair, len(self.units))

    def parts(self, comparison: Comparison, sample: str) -> list[list[Pair]]:
        """Return, for each order, the pairs whose largest contradiction counts."""
        if not self.is_long(comparison, sample):
            return [[pair] for pair in _orders(comparison, sample)]
        ours, theirs = sentences(comparison.response), sentences(sample)
        return [list(product(ours, theirs)), list(product(theirs, ours))]

    def is_long(self, comparison: Comparison, sample: str) -> bool:
        return any(pair in self.long for pair in _orders(comparison, sample))

    def run(self, model: Contradicts) -> None:
        self.probability, tokens = model.contradictions(list(self.units))
        self.tokens = tokens.tolist()

    def judged(self, comparison: Comparison, distinct: dict[str, str]) -> Judged:
        own = normalised(comparison.response)
        similarities: dict[str, float] = {}
        needed: set[int] = set()
        for key, sample in distinct.items():
            parts = self.parts(comparison, sample)
            needed |= {self.units[pair] for order in parts for pair in order}
            forward, backward = (
                max(float(self.probability[self.units[pair]]) for pair in order) for order in parts
            )
            similarities[key] = symmetric_similarity(forward, backward)
        split = {key for key, sample in distinct.items() if self.is_long(comparison, sample)}
        keys = [normalised(sample) for sample in comparison.samples]
        similarity = tuple(1.0 if key == own else similarities.get(key, 0.0) for key in keys)
        return Judged(similarity, len(needed), sum(k in split for k in keys), self._charge(needed))

    def _charge(self, needed: set[int]) -> int:
        spent = sum(self.tokens[unit] for unit in needed)
        for unit in needed:
            self.tokens[unit] = 0
        return spent


def _distinct(comparison: Comparison) -> dict[str, str]:
    """Return the samples that must be judged, by normalised text: neither empty nor the response."""
    own = normalised(comparison.response)
    if not own:
        return {}
    samples: dict[str, str] = {}
    for sample in comparison.samples:
        key = normalised(sample)
        if key and key != own:
            samples.setdefault(key, sample)
    return samples


def _orders(comparison: Comparison, sample: str) -> tuple[Pair, Pair]:
    ours, theirs = comparison.response, sample
    if comparison.question:
        ours, theirs = f"{comparison.question}\n{ours}", f"{comparison.question}\n{theirs}"
    return (ours, theirs), (theirs, ours)
