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
_HASHES_AT_ONCE: Final = 1 << 16
_LONG_WORD: Final = 64  # bytes
_NOT_ASCII: Final = 255
_SIGMA: Final = "\N{GREEK CAPITAL LETTER SIGMA}".encode()
# One more than the code of each byte of a word in ASCII, in lower case; 0 for its other bytes.
_FOLDED: Final = bytes(
    ord(chr(code).lower()) + 1 if chr(code).isalnum() or code == ord("_") else 0
    for code in range(128)
) + bytes([_NOT_ASCII] * 128)  # fmt: skip
_FIRST_BYTES: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
_Unsigned = np.ndarray[Any, np.dtype[Any]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of some texts, one after the other: their hashes, (words,), and how many each text has."""

    hashes: Hashes
    lengths: Integers

    def runs_at(self, n: int) -> tuple[Hashes, Integers, Integers]:
        """Return the hash of every run of n words inside a text, its text, and its first word there."""
        owner = np.repeat(np.arange(len(self.lengths)), self.lengths)
        n_runs = len(self.hashes) - n + 1
        if n_runs <= 0:
            none = np.empty(0, dtype=np.int64)
            return np.empty(0, dtype=np.uint64), none, none
        total = windows(self.hashes, n)
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


def windows(values: _Unsigned, n: int) -> _Unsigned:
    """Return a polynomial of every n numbers in a row, modulo what their type holds."""
    number, modulus = values.dtype.type, 1 << 8 * values.itemsize
    total, n_summed = values, 1
    for digit in f"{n:b}"[1:]:
        total = total[:-n_summed] * number(pow(int(_BASE), n_summed, modulus)) + total[n_summed:]
        n_summed *= 2
        if digit == "1":
            total = total[:-1] * number(int(_BASE) % modulus) + values[n_summed:]
            n_summed += 1
    return total


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
    import pyarrow as pa

    array = (
        texts if pattern == WORD and isinstance(texts, pa.Array) else series_of(texts).to_arrow()
    )
    return _by_bytes(array) if pattern == WORD else _by_pattern(array, pattern)


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


def _by_pattern(texts: "Sequence[str] | pa.Array", pattern: str) -> Words:
    lists = series_of(texts).str.to_lowercase().str.extract_all(pattern)
    words = lists.explode().drop_nulls()  # a text without words explodes to null
    return Words(_hash_each(words.to_arrow()), lists.list.len().to_numpy().astype(np.int64))


def _by_bytes(texts: "pa.Array") -> Words:
    """Find the words of `WORD` by tables of bytes, in a third of the time of the pattern.

    Pieces between bytes that are in no word, if they are not all ASCII, are left to the pattern.
    """
    import pyarrow as pa

    array = texts.cast(pa.large_string())
    _, offset_buffer, data = array.buffers()
    if not len(array) or data is None:
        return Words(np.empty(0, dtype=np.uint64), np.zeros(len(array), dtype=np.int64))
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    held, blocks, first = memoryview(data), [], 0
    while first < len(array):  # texts of so many bytes as stay in the processor's cache
        last = int(np.searchsorted(offsets, offsets[first] + _BYTES_AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        codes = held[offsets[first] : offsets[last]].tobytes()
        if _SIGMA in codes:  # in lower case another letter at the end of a word than elsewhere
            return _by_pattern(texts, WORD)
        blocks.append(_pieces_of(codes, offsets[first : last + 1] - offsets[first]))
        first = last
    found = _by_pattern([piece for block in blocks for piece in block.others], WORD)
    parts, first = [], 0
    for block in blocks:
        parts.append(block.with_words(found, first))
        first += len(block.others)
    return Words(*map(np.concatenate, zip(*parts, strict=True)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Longest stretches without an ASCII byte that is in no word: a word, if all of it is ASCII.

    ``hashes`` of each piece; ``at`` says which are not all ASCII, and ``others`` are these as they are
    written. ``lengths``: pieces of each text.
    """

    hashes: Hashes
    at: Integers
    others: Sequence[str]
    lengths: Integers

    def with_words(self, found: Words, first: int) -> tuple[Hashes, Integers]:
        """Return the words and their number in each text; those of `others` are in ``found`` from first on."""
        if not len(self.at):
            return self.hashes, self.lengths
        n_words = found.lengths[first : first + len(self.at)]
        begin = int(found.lengths[:first].sum())
        words = found.hashes[begin : begin + int(n_words.sum())]
        places = np.repeat(self.at - np.arange(len(self.at)), n_words)
        lengths = self.lengths.copy()
        np.add.at(lengths, np.searchsorted(np.cumsum(lengths), self.at, side="right"), n_words - 1)
        return np.insert(np.delete(self.hashes, self.at), places, words), lengths


def _pieces_of(codes: bytes, at: Integers) -> _Pieces:
    """Cut texts, which lie between places of ``codes``, (texts + 1,), into pieces."""
    folded = codes.translate(_FOLDED)
    starts, ends = _edges(folded, at)
    cells = np.frombuffer(folded + bytes(16 - len(folded) % 8), "<u8")  # whole ones, and one more
    hashes = mixed(_polynomials_at(cells, starts, ends - starts))
    beyond = np.flatnonzero(np.frombuffer(folded, np.uint8) == _NOT_ASCII)
    others = np.unique(np.searchsorted(starts, beyond, side="right") - 1)
    bounds = zip(starts[others].tolist(), ends[others].tolist(), strict=True)
    written = [codes[low:high].decode() for low, high in bounds]
    return _Pieces(hashes, others, written, np.diff(np.searchsorted(starts, at)))


def _edges(folded: bytes, at: Integers) -> tuple[Integers, Integers]:
    """Return where words begin and where they end; none goes on from one text to the next."""
    is_word = np.frombuffer(folded, np.uint8) != 0
    begins, ends = is_word.copy(), is_word.copy()
    begins[1:] &= ~is_word[:-1]
    ends[:-1] &= ~is_word[1:]
    inner = at[1:-1][(at[1:-1] > 0) & (at[1:-1] < len(is_word))]
    begins[inner] = is_word[inner]
    ends[inner - 1] = is_word[inner - 1]
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _polynomials_at(cells: Hashes, starts: Integers, lengths: Integers) -> Hashes:
    """Return the polynomial of each word, eight of its bytes at a time.

    Parameters
    ----------
    cells
        Bytes, eight to a number, each one more than its code; 0 is no part of a word.
    starts, lengths
        Of each word in bytes.
    """
    result = _eight_bytes(cells, starts, lengths)
    longer = np.flatnonzero(lengths > 8)
    for done in range(8, _LONG_WORD, 8):
        if not len(longer):
            return result
        power = np.uint64(pow(int(_BASE), done, 1 << 64))
        part = _eight_bytes(cells, starts[longer] + done, lengths[longer] - done)
        result[longer] += part * power
        longer = longer[lengths[longer] > done + 8]
    codes = cells.view(np.uint8)
    for word in longer.tolist():
        low, n = int(starts[word]), int(lengths[word])
        result[word] = (codes[low : low + n] * _powers(int(_BASE), n)).sum()
    return result


def _eight_bytes(cells: Hashes, at: Integers, lengths: Integers) -> Hashes:
    """Return the polynomial of up to eight bytes from each place on."""
    cell, shift = at >> 3, ((at & 7) << 3).astype(np.uint64)
    value = cells[cell] >> shift
    value |= cells[cell + 1] << (np.uint64(64) - shift)  # numpy shifts a number by 64 to 0
    value &= _FIRST_BYTES[np.minimum(lengths, 8)]
    total = np.zeros(len(at), dtype=np.uint64)
    pairs, lane = _pairs(), np.uint64(0xFFFF)
    for k in range(4):
        of_pair = pairs[((value >> np.uint64(16 * k)) & lane).view(np.int64)]
        total += of_pair * np.uint64(pow(int(_BASE), 2 * k, 1 << 64))
    return total


@lru_cache(maxsize=1)
def _pairs() -> Hashes:
    """Return the polynomial of every two bytes, by the number they make."""
    numbers = np.arange(1 << 16, dtype=np.uint64)
    table = (numbers & np.uint64(255)) + (numbers >> np.uint64(8)) * _BASE
    table.setflags(write=False)
    return table


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
    """Return the places of the hashes that occur more than once, in order; O(n log n).

    Examples
    --------
    >>> repeated(np.array([7, 3, 7, 1, 3], dtype=np.uint64)).tolist()
    [0, 1, 2, 4]
    """
    places, _ = repeats(hashes)
    return np.sort(places)


def repeats(hashes: Hashes) -> tuple[Integers, Integers]:
    """Return the places of the hashes that occur more than once, equal ones together, and their numbers.

    Equal hashes have one number, from 0 on without a gap; their places ascend. O(n log n), but what
    is sorted is one number a hash: its low bits, and its place where the others were.

    Examples
    --------
    >>> places, numbers = repeats(np.array([7, 3, 7, 1, 3], dtype=np.uint64))
    >>> places.tolist(), numbers.tolist()
    ([1, 4, 0, 2], [0, 0, 1, 1])
    """
    n_bits = np.uint64(len(hashes).bit_length())
    limit = np.uint64(1) << n_bits
    keys = np.empty_like(hashes)
    for first in range(0, len(hashes), _HASHES_AT_ONCE):
        some = slice(first, min(first + _HASHES_AT_ONCE, len(hashes)))
        np.left_shift(hashes[some], n_bits, out=keys[some])
        keys[some] |= np.arange(some.start, some.stop, dtype=np.uint64)
    keys.sort()
    alike = np.empty(max(len(keys) - 1, 0), dtype=bool)
    for first in range(0, len(alike), _HASHES_AT_ONCE):
        some = slice(first, min(first + _HASHES_AT_ONCE, len(alike)))
        alike[some] = (keys[some] ^ keys[1:][some]) < limit
    maybe = keys[_beside(alike)]
    places = (maybe & (limit - np.uint64(1))).view(np.int64)
    wanted = hashes[places]
    rolled = wanted << n_bits | wanted >> (np.uint64(64) - n_bits)
    order = np.argsort(rolled, kind="stable")  # few are out of order: where only low bits are equal
    places, rolled = places[order], rolled[order]
    again = _beside(rolled[1:] == rolled[:-1])
    places, rolled = places[again], rolled[again]
    numbers = np.zeros(len(rolled), dtype=np.int64)
    np.cumsum(rolled[1:] != rolled[:-1], out=numbers[1:])
    return places, numbers


def _beside(alike: "np.ndarray[Any, np.dtype[np.bool_]]") -> Integers:
    """Return the places of values that are like one beside them; ``alike``: each, and the next."""
    either = np.zeros(len(alike) + 1, dtype=bool)
    either[1:] = alike
    either[:-1] |= alike
    return np.flatnonzero(either)
