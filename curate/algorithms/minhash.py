"""MinHash of sets of word runs: signatures as datasketch makes them, bands, and exact overlaps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Int, UInt32

from curate.algorithms.words import Hashes, Integers, mixed, series_of, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

# Scripts without blanks between words count by the character.
_UNSPACED: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD_OR_CHARACTER: Final = rf"[[\p{{L}}\p{{N}}_]--[{_UNSPACED}]]+|[{_UNSPACED}]"
SHINGLES_AT_ONCE: Final = 1 << 16  # one permutation of them fits the processor's cache
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_SEED: Final = 1  # datasketch's own default


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shingles:
    """The distinct runs of words of each text, as 32-bit hashes, sorted within a text.

    Parameters
    ----------
    hashes
        Those of all texts, one after the other.
    starts
        Where each text begins in them, and their number at the end, (n + 1,).
    """

    hashes: UInt32[np.ndarray, " m"]
    starts: Int[np.ndarray, " n_plus_1"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, text: int) -> UInt32[np.ndarray, " k"]:
        """Return those of one text."""
        return self.hashes[self.starts[text] : self.starts[text + 1]]

    def take(self, texts: Integers) -> "Shingles":
        """Return some texts, in the order given."""
        sizes = np.diff(self.starts)[texts]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        at = np.arange(starts[-1]) + np.repeat(self.starts[texts] - starts[:-1], sizes)
        return Shingles(self.hashes[at], starts)

    def whole(self) -> Hashes:
        """Return one hash of each text's set: equal sets have equal ones."""
        spread = mixed(self.hashes.astype(np.uint64) + _BASE)
        sizes = np.diff(self.starts).astype(np.uint64)
        return np.asarray(np.add.reduceat(spread, self.starts[:-1]) + sizes)


def shingles_of(texts: "Sequence[str] | pa.Array", n: int) -> Shingles:
    """Return the distinct runs of ``n`` words of each text; every text has at least one.

    Words are compared without case, punctuation and blanks; Chinese, Japanese and the scripts of
    South-East Asia count by the character. A text of fewer words is one run of all of them, and a
    text without words is its own. O(characters log), without a loop in Python.

    Examples
    --------
    >>> both = shingles_of(["To be, or not to be", "be or not to be at"], 2)
    >>> both.starts.tolist(), jaccard_with(both, 0, np.array([1])).tolist()
    ([0, 4, 9], [0.8])
    """
    words = words_of(texts, WORD_OR_CHARACTER)
    runs, owner, _ = words.runs_at(n)
    short = np.flatnonzero(words.lengths < n)
    alone = words.whole()[short]
    wordless = words.lengths[short] == 0
    if wordless.any():
        taken = series_of(texts).gather(short[wordless])
        alone[wordless] = words_of(taken.str.strip_chars().to_arrow(), r"(?s).+").whole()
    keys = np.concatenate([mixed(runs), mixed(alone)]) >> np.uint64(32)
    owners = np.concatenate([owner, short]).astype(np.uint64)
    distinct = np.unique((owners << np.uint64(32)) | keys)
    sizes = np.bincount((distinct >> np.uint64(32)).astype(np.int64), minlength=len(words.lengths))
    return Shingles(distinct.astype(np.uint32), np.concatenate([[0], np.cumsum(sizes)]))


def join(blocks: "Sequence[Shingles]") -> Shingles:
    """Return the texts of some blocks, one block after the other."""
    sizes = np.concatenate([np.diff(block.starts) for block in blocks])
    hashes = np.concatenate([block.hashes for block in blocks])
    return Shingles(hashes, np.concatenate([[0], np.cumsum(sizes)]))


def signatures(shingles: Shingles, num_perm: int) -> UInt32[np.ndarray, "n num_perm"]:
    """Return the MinHash of each text, equal to datasketch's of the same 32-bit hashes.

    A permutation at a time over some 65,000 runs of words: O(runs num_perm), of which one array
    of that length is held.
    """
    from datasketch import MinHash

    multipliers, additions = MinHash(num_perm, seed=_SEED, scheme="affine32").permutations
    made = np.empty((len(shingles), num_perm), dtype=np.uint32)
    starts = shingles.starts
    first = 0
    while first < len(shingles):
        last = int(np.searchsorted(starts, starts[first] + SHINGLES_AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        block = _spread(shingles.hashes[starts[first] : starts[last]])
        offsets = starts[first:last] - starts[first]
        for column in range(num_perm):
            permuted = block * multipliers[column] + additions[column]  # wraps around at 2^32
            made[first:last, column] = np.minimum.reduceat(permuted, offsets)
        first = last
    return made


def _spread(hashes: UInt32[np.ndarray, " m"]) -> UInt32[np.ndarray, " m"]:
    """Mix the bits of 32-bit hashes as datasketch does before it permutes them (MurmurHash3's finisher)."""
    spread = hashes ^ (hashes >> np.uint32(16))
    spread *= np.uint32(0x85EBCA6B)
    spread ^= spread >> np.uint32(13)
    spread *= np.uint32(0xC2B2AE35)
    spread ^= spread >> np.uint32(16)
    return np.asarray(spread)


def bands_and_rows(threshold: float, num_perm: int) -> tuple[int, int]:
    """Return into how many bands of how many rows datasketch cuts signatures for a threshold.

    Candidates are measured exactly afterwards, so a missed pair weighs 19 times a false one.
    """
    from datasketch import MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=num_perm, weights=(0.05, 0.95))
    return int(index.b), int(index.r)


def band_hashes(
    made: UInt32[np.ndarray, "n num_perm"], n_bands: int, n_rows: int
) -> Int[np.ndarray, "n n_bands"]:
    """Return one 31-bit hash per band: texts that agree in a whole band have it in common."""
    result = np.empty((len(made), n_bands), dtype=np.int32)
    for band in range(n_bands):
        total = np.zeros(len(made), dtype=np.uint64)
        for column in range(band * n_rows, (band + 1) * n_rows):
            total *= _BASE
            total += made[:, column]
        result[:, band] = (mixed(total) >> np.uint64(33)).astype(np.int32)
    return result


def jaccard_with(shingles: Shingles, text: int, others: Integers) -> "np.ndarray[Any, Any]":
    """Return the exact overlap of one text's set with that of each other text, 0 to 1, (k,)."""
    own = shingles.of(text)
    sizes = shingles.starts[others + 1] - shingles.starts[others]
    joined = np.concatenate([shingles.of(other) for other in others.tolist()])
    at = np.minimum(np.searchsorted(own, joined), len(own) - 1)
    ends = np.cumsum(sizes)
    shared = np.add.reduceat((own[at] == joined).astype(np.int64), ends - sizes)
    overlap = shared / (sizes + len(own) - shared)
    return np.asarray(overlap)
