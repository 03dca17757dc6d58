"""Texts in lower case, one blank after each word: which texts, or runs of 13 words, are the same.

The words are those of `words_of`, but none is hashed by itself: runs are slices of the folded text.
Where nothing else is asked of the words, this takes a fourth of the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.algorithms.words import N_GRAM, Hashes, Integers, series_of, windows

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.int32]]  # in a block

_BYTES_AT_ONCE: Final = 1 << 20
_BLOCKS_AT_ONCE: Final = 8  # are hashed in one call: each wakes another thread
_SHORT: Final = 12  # bytes: a string of no more stands in its view
_HIGH_BITS: Final = np.uint64(0x8080808080808080)
_LEAD: Final = 0xC0  # the first byte of a character that is not ASCII is at least this
_CODE_POINTS: Final = 0x110000
_NO_WORD: Final = r"[^\p{L}\p{N}_]+"
_SIGMA: Final = ord("\N{GREEK CAPITAL LETTER SIGMA}")  # another letter at the end of a word
_BLANK: Final = ord(" ")
_NOTHING: Final = 0  # a byte that is left out
# Each byte of a word in ASCII, in lower case; a blank for the others.
_FOLDED: Final = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() or code == ord("_") else _BLANK
    for code in range(128)
) + bytes(range(128, 256))  # fmt: skip


@final
@dataclass(frozen=True, slots=True, eq=False)
class Hashed:
    """Hashes of some texts, equal where the words are.

    Parameters
    ----------
    whole
        Of all words of each text in order, (texts,).
    runs, owners
        Of runs of 13 words inside a text, (runs,), and the number of that text.
    """

    whole: Hashes
    runs: Hashes
    owners: Integers


def hash_texts(parts: "Sequence[pa.Array]", one_in: int = 1) -> Hashed:
    """Hash texts, and one of so many of their runs of 13 words: the same ones of every text.

    Which runs these are depends on how long each of their words is, and on its first byte. The
    hashes are those of polars, which may differ in its next version: do not store them.
    O(characters), without a loop in Python.

    Parameters
    ----------
    parts
        The texts in parts, each (texts,), between which words end; a part may be null.

    Examples
    --------
    >>> import pyarrow as pa
    >>> found = hash_texts([pa.array(["Say red.", "say"]), pa.array([None, "RED!"])])
    >>> bool(found.whole[0] == found.whole[1]), len(found.runs)
    (True, 0)
    """
    hashes, numbers = np.empty(0, np.uint64), np.empty(0, np.int64)
    whole, runs, owners, n_texts = [hashes], [hashes], [numbers], 0
    blocks = _blocks(parts)
    while some := [*islice(blocks, _BLOCKS_AT_ONCE)]:
        codes, of_texts, of_runs = [], [], []
        for number, texts in enumerate(some):
            folded, bounds = _fold(texts)
            starts, ends, of = _some_runs(folded, bounds, one_in)
            codes.append(folded)
            of_texts.append(_views(folded, bounds[:-1], bounds[1:], number))
            of_runs.append(_views(folded, starts, ends, number))
            owners.append(of + n_texts)
            n_texts += len(texts)
        hashes = _hash(codes, [*of_texts, *of_runs])
        n_here = sum(map(len, of_texts))
        whole.append(hashes[:n_here])
        runs.append(hashes[n_here:])
    return Hashed(np.concatenate(whole), np.concatenate(runs), np.concatenate(owners))


def _blocks(parts: "Sequence[pa.Array]") -> "Iterator[pa.LargeStringArray]":
    """Join the parts of some texts: of so many at once as stay in the processor's cache."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wide = [part.cast(pa.large_string()) for part in parts]
    nothing, between = pa.scalar("", pa.large_string()), pa.scalar("\n", pa.large_string())
    n_bytes = sum(part.nbytes for part in wide)
    at_once = max(1, _BYTES_AT_ONCE * len(wide[0]) // max(n_bytes, 1))
    for first in range(0, len(wide[0]), at_once):
        some = [part[first : first + at_once] for part in wide]
        # The last part is empty: every word is followed by something.
        yield pc.binary_join_element_wise(*some, nothing, between, null_handling="replace")


def _fold(texts: "pa.LargeStringArray", *, ascii_left: bool = False) -> tuple[Bytes, Integers]:
    """Return the folded texts, and where each of them begins and the last one ends, (texts + 1,).

    With ``ascii_left``, all characters but those of ASCII are folded already.
    """
    import polars as pl
    import pyarrow as pa

    _, offsets, data = texts.buffers()
    at = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    n_bytes = int(at[-1] - at[0])
    raw = bytearray().join([memoryview(data)[at[0] : at[-1]], bytes(64 - n_bytes % 64)])
    codes = np.frombuffer(raw.translate(_FOLDED), np.uint8)  # with blanks to a multiple of 64
    has_gaps = False
    if not ascii_left and not raw.isascii():
        places, points = _others(codes)
        folds = _folds()
        if not folds.know(points):
            lower = series_of(texts).str.to_lowercase().str.replace_all(_NO_WORD, " ")
            return _fold(lower.to_arrow().cast(texts.type), ascii_left=True)
        has_gaps = folds.write(codes, places, points)
    words = _packed(codes > _BLANK)
    kept = words | _next(words)  # of what stands between two words, the first byte
    if has_gaps:
        kept &= ~_packed(codes == _NOTHING)
    return _taken(pl.Series(pa.array(codes)), kept), _n_before(kept, at - at[0])


def _some_runs(codes: Bytes, bounds: Integers, one_in: int) -> tuple[Places, Places, Integers]:
    """Return where runs begin and where they end, without their last blank, and whose they are."""
    import polars as pl
    import pyarrow as pa

    blanks = _packed(codes == _BLANK)
    ends: Places = _taken(_places(len(codes)), blanks)
    n_runs = max(0, len(ends) - N_GRAM + 1)  # some of them begin in one text and end in the next
    if one_in == 1 or not n_runs:
        at = np.arange(n_runs, dtype=np.int32)
    else:
        firsts = _next(blanks)  # what follows a blank, and the first byte, begins a word
        firsts[0] |= np.uint64(1)
        words = np.empty(len(ends), np.uint32)
        words[0] = ends[0] + 1
        np.subtract(ends[1:], ends[:-1], out=words[1:].view(np.int32))
        words <<= np.uint32(8)
        words |= _taken(pl.Series(pa.array(codes)), firsts)
        is_chosen = windows(words, N_GRAM) < np.uint32((1 << 32) // one_in)
        at = _taken(_places(n_runs), _packed(is_chosen))
    starts = np.where(at > 0, ends[at - 1] + np.int32(1), np.int32(0))
    ends = ends[at + np.int32(N_GRAM - 1)]
    n_of = np.diff(np.searchsorted(starts, bounds[1:].astype(np.int32)), prepend=0)
    owners = np.repeat(np.arange(len(n_of)), n_of)
    inside = ends < bounds[1:][owners]
    return starts[inside], ends[inside], owners[inside]


# Polars as a processor of numpy's arrays --------------------------------------------------------------


def _packed(mask: "np.ndarray[Any, np.dtype[np.bool_]]") -> Hashes:
    """Return a mask as bits, 64 to a number, the first the lowest; beyond its end at least one 0."""
    bits = np.zeros(len(mask) // 64 + 1, dtype="<u8")
    packed = np.packbits(mask, bitorder="little")
    bits.view(np.uint8)[: len(packed)] = packed
    return bits


def _next(bits: Hashes) -> Hashes:
    """Return bits that are 1 where the one before is."""
    moved = bits << np.uint64(1)
    moved[1:] |= bits[:-1] >> np.uint64(63)
    return moved


def _n_before(bits: Hashes, at: Integers) -> Integers:
    """Return how many bits before each place are 1."""
    n_until = np.zeros(len(bits) + 1, dtype=np.int64)
    np.cumsum(np.bitwise_count(bits), out=n_until[1:])
    lower = (np.uint64(1) << (at & 63).astype(np.uint64)) - np.uint64(1)
    n_before: Integers = n_until[at >> 6] + np.bitwise_count(bits[at >> 6] & lower)
    return n_before


def _taken(values: "pl.Series", bits: Hashes) -> "np.ndarray[Any, Any]":
    """Return the values whose bit is 1, in a third of the time that a mask takes in numpy."""
    import polars as pl
    import pyarrow as pa

    mask = pa.BooleanArray.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    return values.filter(pl.Series(mask)).to_numpy()


def _views(
    codes: Bytes, starts: "Places | Integers", ends: "Places | Integers", number: int
) -> "np.ndarray[Any, np.dtype[np.int32]]":
    """Return Arrow's views of slices, which may overlap, of the buffer of this number, (slices, 4)."""
    views = np.zeros((len(starts), 4), np.int32)  # n bytes, the first 4, buffer, its place there
    lengths = views[:, 0] = ends - starts
    if len(codes) > _SHORT:
        fours = np.ndarray((len(codes) - 3,), np.int32, codes, strides=(1,))
        views[:, 1] = fours[np.minimum(starts, len(fours) - 1)]
    views[:, 2] = number
    views[:, 3] = starts
    short = np.flatnonzero(lengths <= _SHORT)
    if len(short):  # these are all bytes, and 0 after them
        places = starts[short, None] + np.arange(_SHORT)
        inline = codes.take(places, mode="clip") if len(codes) else np.zeros(places.shape, np.uint8)
        inline[np.arange(_SHORT) >= lengths[short, None]] = 0
        views[short, 1:] = inline.view(np.int32)
    return views


def _hash(codes: Sequence[Bytes], views: "Sequence[np.ndarray[Any, Any]]") -> Hashes:
    """Hash the bytes that views show, where they are."""
    import polars as pl
    import pyarrow as pa

    n_views = sum(map(len, views))
    buffers = [None, pa.py_buffer(np.concatenate(views)), *map(pa.py_buffer, codes)]
    slices = pa.Array.from_buffers(pa.binary_view(), n_views, buffers)
    return pl.Series(slices).hash().to_numpy()


def _places(n: int) -> "pl.Series":
    """Return the numbers below n."""
    return _computed_places(max(2 * _BYTES_AT_ONCE, n))[:n]


@lru_cache(maxsize=1)
def _computed_places(n: int) -> "pl.Series":
    import polars as pl

    return pl.Series(np.arange(n, dtype=np.int32))


# Characters that are not ASCII ------------------------------------------------------------------------


def _others(codes: Bytes) -> tuple[Integers, Integers]:
    """Return where each character that is not ASCII begins, and its code point."""
    some = np.flatnonzero((codes.view(np.uint64) & _HIGH_BITS) != 0)
    near = np.flatnonzero(codes.reshape(-1, 8)[some] >= _LEAD)
    at = some[near >> 3] << 3 | near & 7
    lead = codes[at]
    n_bytes = _n_bytes(lead)
    points = lead & (0x7F >> n_bytes)
    for k in (1, 2, 3):
        following = codes.take(at + k, mode="clip") & 0x3F
        points = np.where(n_bytes > k, points << 6 | following, points)
    return at, points


def _n_bytes(lead: Bytes) -> Integers:
    return 2 + (lead >= 0xE0).astype(np.int64) + (lead >= 0xF0)


@final
class _Folds:
    """How characters are folded, each in as many bytes as it has."""

    def __init__(self) -> None:
        self._bytes = np.zeros((_CODE_POINTS, 4), dtype=np.uint8)
        self._seen = np.zeros(_CODE_POINTS, dtype=bool)
        self._fits = np.zeros(_CODE_POINTS, dtype=bool)

    def know(self, points: Integers) -> bool:
        """Return whether these characters can be folded one by one, in as many bytes as they have."""
        import polars as pl

        new = np.unique(points[~self._seen[points]]).tolist()
        if new:
            written = pl.Series([chr(point) for point in new], dtype=pl.String)
            folds = written.str.to_lowercase().str.replace_all(_NO_WORD, " ")
            for point, n, fold in zip(new, written.str.len_bytes(), folds, strict=True):
                code = fold.encode()
                wide = code.ljust(n) if code[-1] == _BLANK else code.rjust(n, bytes([_NOTHING]))
                self._fits[point] = len(wide) == n and point != _SIGMA
                if self._fits[point]:
                    self._bytes[point, :n] = np.frombuffer(wide, np.uint8)
            self._seen[new] = True
        return bool(self._fits[points].all())

    def write(self, codes: Bytes, at: Integers, points: Integers) -> bool:
        """Fold the characters that begin at some places; return whether some bytes are now `_NOTHING`."""
        n_bytes = _n_bytes(codes[at])
        folds = self._bytes[points]
        for k in range(4):
            some = n_bytes > k
            codes[at[some] + k] = folds[some, k]
        return bool((folds[:, 0] == _NOTHING).any())


@lru_cache(maxsize=1)
def _folds() -> _Folds:
    return _Folds()
