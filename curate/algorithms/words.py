"""Words of texts as hashes: which texts, or runs of 13 words, are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

N_GRAM: Final = 13
WORD: Final = r"[\p{L}\p{N}_]+"  # what `re` of the standard library calls a word
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it loses a bit
_INVERSE: Final = pow(int(_BASE), -1, 1 << 64)
_BYTES_AT_ONCE: Final = 1 << 16

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of some texts, one after the other: their hashes, (words,), and how many each text has."""

    hashes: Hashes
    lengths: Integers

    def runs(self) -> tuple[Hashes, Integers]:
        """Return the hash of every run of 13 words inside a text, and the number of that text."""
        runs, owners, _ = self.runs_at(N_GRAM)
        return runs, owners

    def runs_at(self, n: int) -> tuple[Hashes, Integers, Integers]:
        """Return the hash of every run of n words inside a text, its text, and its first word there."""
        owner = np.repeat(np.arange(len(self.lengths)), self.lengths)
        n_runs = len(self.hashes) - n + 1
        if n_runs <= 0:
            none = np.empty(0, dtype=np.int64)
            return np.empty(0, dtype=np.uint64), none, none
        total = np.zeros(n_runs, dtype=np.uint64)
        for offset in range(n):
            total *= _BASE  # wraps around: a polynomial mod 2^64
            total += self.hashes[offset : offset + n_runs]
        whole = np.flatnonzero(owner[:n_runs] == owner[n - 1 :])
        starts = np.cumsum(self.lengths) - self.lengths
        owners = owner[whole]
        return total[whole], owners, whole - starts[owners]

    def whole(self) -> Hashes:
        """Return one hash of all words of each text in order, (texts,)."""
        starts = np.cumsum(self.lengths) - self.lengths
        places = np.arange(len(self.hashes)) - np.repeat(starts, self.lengths)
        powers = np.cumprod(np.full(self.lengths.max(initial=0), _BASE))
        result = self.lengths.astype(np.uint64)
        some = self.lengths > 0
        if some.any():
            result[some] += np.add.reduceat(self.hashes * powers[places], starts[some])
        return result


def series_of(texts: "Sequence[str] | pa.Array") -> "pl.Series":
    """Return texts for polars; half of a surrogate pair, which is no character, becomes U+FFFD."""
    import polars as pl

    try:
        return pl.Series(texts, dtype=pl.String)
    except UnicodeEncodeError:
        whole = [
            text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts
        ]
        return pl.Series(whole, dtype=pl.String)


def words_of(texts: "Sequence[str] | pa.Array", pattern: str = WORD) -> Words:
    """Return the lower-case words of some texts, as 64-bit hashes.

    Equal words have equal hashes in every call and every version, so that what is made of them can
    be stored. Half of a surrogate pair parts two words. O(characters), without a loop in Python.

    Examples
    --------
    >>> words = words_of(["Say red.", "", "say RED"])
    >>> words.lengths.tolist(), (words.hashes[:2] == words.hashes[2:]).all().item()
    ([2, 0, 2], True)
    """
    lists = series_of(texts).str.to_lowercase().str.extract_all(pattern)
    words = lists.explode().drop_nulls()  # a text without words explodes to null
    return Words(_hash_each(words.to_arrow()), lists.list.len().to_numpy().astype(np.int64))


def spelled(text: str) -> list[str]:
    """Return the words that `words_of` hashes, as they are written in lower case."""
    words: list[str] = series_of([text]).str.to_lowercase().str.extract_all(WORD)[0].to_list()
    return words


def _hash_each(strings: "pa.Array") -> Hashes:
    """Hash each string: a polynomial of its bytes mod 2^64, whose bits are then mixed."""
    import pyarrow as pa

    array = strings.cast(pa.large_string())
    if not len(array):
        return np.empty(0, dtype=np.uint64)
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    codes = np.frombuffer(data if data is not None else b"", np.uint8)
    result = np.empty(len(array), dtype=np.uint64)
    first = 0
    while first < len(array):  # words of so many bytes as stay in the processor's cache
        last = int(np.searchsorted(offsets, offsets[first] + _BYTES_AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        result[first:last] = _polynomials(codes, offsets[first : last + 1])
        first = last
    return mixed(result)


def _polynomials(codes: "np.ndarray[Any, np.dtype[np.uint8]]", offsets: Integers) -> Hashes:
    """Return the sum of (byte + 1) * base^place over each string, whose bytes follow each other."""
    begin, end = int(offsets[0]), int(offsets[-1])
    # Sums over all strings so far; what a string adds to them is moved back to place 0.
    sums = np.zeros(end - begin + 1, dtype=np.uint64)
    terms = codes[begin:end].astype(np.uint64)
    terms += np.uint64(1)
    terms *= _powers(int(_BASE), end - begin)
    np.cumsum(terms, out=sums[1:])
    at = offsets - begin
    result: Hashes = (sums[at[1:]] - sums[at[:-1]]) * _powers(_INVERSE, end - begin + 1)[at[:-1]]
    return result


def _powers(base: int, n: int) -> Hashes:
    """Return base^0 to base^(n-1) mod 2^64."""
    return _computed_powers(base, max(_BYTES_AT_ONCE + 1, n))[:n]


@lru_cache(maxsize=2)
def _computed_powers(base: int, n: int) -> Hashes:
    factors = np.full(n, base, dtype=np.uint64)
    factors[0] = 1
    powers = np.cumprod(factors)
    powers.setflags(write=False)
    return powers


def mixed(hashes: Hashes) -> Hashes:
    """Spread every bit of each hash over all of its bits, one to one (the finisher of MurmurHash3)."""
    shift = np.uint64(33)
    spread = hashes ^ (hashes >> shift)
    spread *= np.uint64(0xFF51AFD7ED558CCD)
    spread ^= spread >> shift
    spread *= np.uint64(0xC4CEB9FE1A85EC53)
    spread ^= spread >> shift
    return spread


def repeated(hashes: Hashes) -> Integers:
    """Return the places of the hashes that occur more than once, in order.

    O(n log n), but only the hashes are sorted, and their places never are.

    Examples
    --------
    >>> repeated(np.array([7, 3, 7, 1, 3], dtype=np.uint64)).tolist()
    [0, 1, 2, 4]
    """
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.empty(0, dtype=np.int64)
    shift = np.uint64(40)
    maybe = np.zeros(1 << 24, dtype=bool)  # by the leading bits: most of the others end here
    maybe[twice >> shift] = True
    places = np.flatnonzero(maybe[hashes >> shift])
    at = np.minimum(np.searchsorted(twice, hashes[places]), len(twice) - 1)
    again: Integers = places[twice[at] == hashes[places]]
    return again
