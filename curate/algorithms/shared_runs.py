"""Runs of words that texts share with given ones, such as those of a benchmark."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from curate.algorithms.words import Hashes, Integers, Words

PLACES_PER_RUN: Final = 16  # kept of a run that occurs more often; a template would be everywhere
_MAX_TABLE_BITS: Final = 27


@final
@dataclass(frozen=True, slots=True, eq=False)
class RunIndex:
    """Every run of n words of some texts, and where it occurs.

    Parameters
    ----------
    n
        Words in a run.
    hashes
        One per distinct run, sorted, (m,).
    starts
        Where the occurrences of each begin in the next two, and their number at the end, (m + 1,).
    owners, places
        Text and first word of each occurrence, in order within a run.
    """

    n: int
    hashes: Hashes
    starts: Integers
    owners: Integers
    places: Integers
    _seen: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    _shift: np.uint64

    @classmethod
    def of(
        cls, blocks: Iterable[Words], n: int, most_places: int | None = PLACES_PER_RUN
    ) -> "RunIndex":
        """Index texts given in blocks, numbered from 0; O(words log words), 24 bytes a word or more.

        Of a run that occurs more often than ``most_places`` only its first places are kept.
        """
        empty = np.empty(0, dtype=np.int64)
        runs, owners, places = [np.empty(0, dtype=np.uint64)], [empty], [empty]
        n_texts = 0
        for words in blocks:
            hashed, of, at = words.runs_at(n)
            runs.append(hashed)
            owners.append(of + n_texts)
            places.append(at)
            n_texts += len(words.lengths)
        joined = np.concatenate(runs)
        order = np.argsort(joined, kind="stable")
        ordered = joined[order]
        is_first = np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)]
        first = np.flatnonzero(is_first)
        rank = np.arange(len(ordered)) - np.repeat(first, np.diff(first, append=len(ordered)))
        kept = rank < (len(rank) if most_places is None else most_places)
        order, is_first = order[kept], is_first[kept]
        distinct = ordered[first]
        bits = min(max(int(16 * len(distinct)).bit_length(), 10), _MAX_TABLE_BITS)
        shift = np.uint64(64 - bits)
        seen = np.zeros(1 << bits, dtype=bool)
        seen[distinct >> shift] = True
        starts = np.append(np.flatnonzero(is_first), len(order))
        owned, at = np.concatenate(owners)[order], np.concatenate(places)[order]
        return cls(n, distinct, starts, owned, at, seen, shift)

    def find(self, runs: Hashes) -> Integers:
        """Return the place in ``hashes`` of each run, -1 for one that does not occur, (k,).

        The leading bits of most runs that do not occur are those of none that does: one look each.
        """
        result = np.full(len(runs), -1)
        if not len(self.hashes):
            return result
        maybe = np.flatnonzero(self._seen[runs >> self._shift])
        at = np.minimum(np.searchsorted(self.hashes, runs[maybe]), len(self.hashes) - 1)
        is_known = self.hashes[at] == runs[maybe]
        result[maybe[is_known]] = at[is_known]
        return result

    def owners_with(self, runs: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Integers:
        """Return the texts in which some of the runs occur, a mask over ``hashes``, in order."""
        return np.unique(self.owners[np.repeat(runs, np.diff(self.starts))])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What each text shares with indexed ones, (n,) each.

    Parameters
    ----------
    n_runs
        Runs of n words the text has.
    n_shared
        Those of them that occur in an indexed text.
    longest
        Words of the longest run that it has in common with one indexed text, 0 where none is shared;
        see `shared_runs`.
    owner, place
        That indexed text (of equals, the first) and where the run begins in this text, in words;
        -1 where none is shared.
    """

    n_runs: Integers
    n_shared: Integers
    longest: Integers
    owner: Integers
    place: Integers


def shared_runs(index: RunIndex, words: Words) -> Shared:
    """Compare some texts with all indexed ones.

    The longest common run is exact where each of its runs of n words occurs in at most as many
    places of the indexed texts as the index keeps. One that occurs in more may part a longer common
    run, of which the longest part is then named: a lower bound. O(words), and O(log) for each run
    that is shared.
    """
    n_texts = len(words.lengths)
    runs, of, at = words.runs_at(index.n)
    numbers = index.find(runs)
    hits = np.flatnonzero(numbers >= 0)
    n_shared = np.bincount(of[hits], minlength=n_texts)
    longest, owner, place = np.zeros(n_texts, dtype=np.int64), *np.full((2, n_texts), -1)
    shared = Shared(np.bincount(of, minlength=n_texts), n_shared, longest, owner, place)
    if not len(hits):
        return shared
    first, last = index.starts[numbers[hits]], index.starts[numbers[hits] + 1]
    counts = last - first
    pair_of = np.repeat(hits, counts)
    within = np.arange(len(pair_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    occurrence = np.repeat(first, counts) + within
    texts, begins = of[pair_of], at[pair_of]
    owners = index.owners[occurrence]
    shifts = index.places[occurrence] - begins
    order = np.lexsort((begins, shifts, owners, texts))
    texts, owners, shifts, begins = (array[order] for array in (texts, owners, shifts, begins))
    goes_on = np.zeros(len(texts), dtype=bool)
    goes_on[1:] = (
        (texts[1:] == texts[:-1])
        & (owners[1:] == owners[:-1])
        & (shifts[1:] == shifts[:-1])
        & (begins[1:] == begins[:-1] + 1)
    )
    starts = np.flatnonzero(~goes_on)
    lengths = np.diff(starts, append=len(texts)) + index.n - 1
    best = np.lexsort((begins[starts], owners[starts], -lengths, texts[starts]))
    _, firsts = np.unique(texts[starts][best], return_index=True)
    chosen = best[firsts]
    at_text = texts[starts][chosen]
    longest[at_text] = lengths[chosen]
    owner[at_text] = owners[starts][chosen]
    place[at_text] = begins[starts][chosen]
    return shared
