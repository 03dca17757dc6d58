"""Examples that nearly repeat others, found exactly and in one pass.

Two definitions, both over words without case, punctuation and blanks. *Same words*: two examples
have the same words in the same order. *Same runs*: at least 80% of an example's runs of 13 words
also occur in examples of other prompts. Runs that occur under more than 50 prompts are templates
(the instruction of a task, a system prompt) and do not count, or else every example of a templated
task would repeat every other; nor does it count that responses to one prompt share that prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.algorithms.folded import hash_texts
from curate.algorithms.words import N_GRAM, Hashes, repeated, repeats
from curate.views.report.pool import Mask, PoolFacts, Rows

if TYPE_CHECKING:
    import pyarrow as pa

SHARED: Final = 0.8
TEMPLATE: Final = 50  # prompts
MAX_RUNS: Final = 12_000_000  # held in memory at once, at about 60 bytes each while they are sorted
_CHARS_PER_RUN: Final = 5
_SHOWN: Final = 6


@final
@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """Which examples nearly repeat another one.

    Parameters
    ----------
    same_words, same_runs
        By row of the pool, (n,): whether an example repeats another one in this sense.
    pairs
        A few of them, each with the example it shares most with: rows of the pool.
    one_in
        One of how many runs was examined: 1 means all of them, so that the answer is exact.
    """

    same_words: Mask
    same_runs: Mask
    pairs: Sequence[tuple[int, int]]
    one_in: int

    @property
    def any(self) -> Mask:
        """Whether an example repeats another one in either sense, (n,)."""
        return self.same_words | self.same_runs


@final
class RepeatFinder:
    """Finds near-duplicates among texts that come in any order; O(words) time.

    It holds a bounded number of runs. A pool with more is judged by one in k of them, chosen by
    their words, which is the same choice in every example.
    """

    def __init__(self, pool: PoolFacts) -> None:
        self._pool = pool
        self._one_in = 1 + int(pool.n_chars.sum()) // (_CHARS_PER_RUN * MAX_RUNS)
        self._whole = np.zeros(len(pool), dtype=np.uint64)
        n_runs = int(pool.n_chars.sum()) // (_CHARS_PER_RUN * self._one_in)
        self._runs, self._owners = _Growing(np.uint64, n_runs), _Growing(np.int32, n_runs)
        self._n_runs = np.zeros(len(pool), dtype=np.int64)
        self._has_texts = False

    def add(self, rows: Rows, texts: "Sequence[pa.Array]") -> None:
        """Take the texts of some rows of the pool, as `hash_texts` does."""
        found = hash_texts(texts, self._one_in)
        self._whole[rows] = found.whole
        self._runs.append(found.runs)
        self._owners.append(rows[found.owners])
        self._n_runs[rows] = np.bincount(found.owners, minlength=len(rows))
        self._has_texts = True

    def repeats(self) -> Repeats:
        """Judge every row of the pool."""
        if not self._has_texts:
            none = np.zeros(len(self._pool), dtype=bool)
            return Repeats(none, none, (), self._one_in)
        runs, owners = self._runs.values, self._owners.values
        return _judge(self._pool, self._whole, runs, owners, self._n_runs, self._one_in)


@final
class _Growing:
    """Numbers that are added to; room for as many as are expected costs nothing before it is used."""

    def __init__(self, dtype: type[np.generic], n_expected: int) -> None:
        self._room = np.empty(n_expected, dtype)
        self._n = 0

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """The numbers so far."""
        return self._room[: self._n]

    def append(self, values: np.ndarray[Any, Any]) -> None:
        """Add some more."""
        n = self._n + len(values)
        if n > len(self._room):
            self._room = np.concatenate([self.values, np.empty(n, self._room.dtype)])
        self._room[self._n : n] = values
        self._n = n


def _judge(
    pool: PoolFacts, whole: Hashes, runs: Hashes, owners: "np.ndarray[Any, np.dtype[np.int32]]",
    n_runs: Rows, one_in: int,
) -> Repeats:  # fmt: skip
    same_words = np.zeros(len(pool), dtype=bool)
    same_words[repeated(whole)] = True
    again, number = repeats(runs)  # the others occur in one example
    owners = owners[again]
    groups = pool.groups[owners]
    n_groups = _n_groups(number, groups)[number]
    of = n_runs - np.bincount(owners[n_groups > TEMPLATE], minlength=len(pool))
    shared = owners[(n_groups <= TEMPLATE) & (n_groups > 1)]
    part = np.bincount(shared, minlength=len(pool))
    same_runs = (of > 0) & (part >= SHARED * of)
    pairs = _same_word_pairs(whole, same_words)
    asked = np.flatnonzero(same_runs & ~same_words)[: _SHOWN - len(pairs)]
    for row in asked.tolist():
        mine = number[(owners == row) & (n_groups <= TEMPLATE)]
        others = owners[np.isin(number, mine) & (groups != pool.groups[row])]
        pairs.append((row, int(np.bincount(others).argmax())))
    return Repeats(same_words, same_runs, pairs, one_in)


def _n_groups(number: Rows, groups: Rows) -> Rows:
    """Return how many groups each number stands beside, (numbers,)."""
    n_all = int(groups.max(initial=0)) + 1
    both = np.sort(number * n_all + groups)
    is_new = np.ones(len(both), dtype=bool)
    is_new[1:] = both[1:] != both[:-1]
    return np.bincount(both[is_new] // n_all)


def _same_word_pairs(whole: Hashes, same_words: Mask) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    seen: dict[int, int] = {}
    for row in np.flatnonzero(same_words).tolist():
        key = int(whole[row])
        if key in seen:
            pairs.append((seen[key], row))
        if len(pairs) == _SHOWN // 2:
            break
        seen.setdefault(key, row)
    return pairs


def describe(repeats: Repeats) -> str:
    """Describe how near-duplicates were found."""
    sampled = "" if repeats.one_in == 1 else f" One in {repeats.one_in} runs was examined."
    return (
        f"Near-duplicates are exact: words are compared without case, punctuation and blanks. An "
        f"example repeats another one if all their words are the same, or if at least {SHARED:.0%} "
        f"of its runs of {N_GRAM} words also occur under other prompts; runs under more than "
        f"{TEMPLATE} prompts are templates and do not count.{sampled}"
    )
