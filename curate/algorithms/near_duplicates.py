"""Which texts are copies of an earlier one: candidates by bands of MinHash, measured exactly."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int

from curate.algorithms.minhash import Shingles, jaccard_with
from curate.algorithms.words import repeated

MOST_IN_BUCKET: Final = 64  # representatives with one band in common
MOST_COMPARED: Final = 64  # representatives a text is measured against


@final
@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """The representative of each text, itself for what is no copy, and the overlap with it, (n,)."""

    representative: Int[np.ndarray, " n"]
    similarity: Float[np.ndarray, " n"]


def find_copies(
    bands: Int[np.ndarray, "n n_bands"],
    shingles_of_rows: Callable[[Int[np.ndarray, " k"]], Shingles],
    threshold: float,
) -> Copies:
    """Go through the texts in order; a text is a copy if an earlier one that is none is similar.

    So every copy reaches the threshold with its representative, the most similar one (of equals, the
    first), and no two representatives among the candidates reach it. Candidates share a band; each
    is measured exactly. Equal sets are found by sorting: 100,000 equal texts cost no more than
    others. A bucket holds at most 64 representatives and a text is measured against the 64 that share
    most bands with it, so that texts of one template, alike but not enough to be copies, are not
    compared all with all; past that, a copy may be missed.

    O(n bands log n), and O(texts with a band in common) steps in Python; of these alone the runs of
    words are held.

    Parameters
    ----------
    bands
        Band hashes as `curate.algorithms.minhash.band_hashes` makes them.
    shingles_of_rows
        Returns the runs of words of some texts, in the order of the rows given.
    """
    n = len(bands)
    result = Copies(np.arange(n), np.ones(n))
    shared = np.zeros(n, dtype=bool)
    for column in bands.T:
        shared[repeated(column.astype(np.uint64))] = True
    rows = np.flatnonzero(shared)
    if not len(rows):
        return result
    shingles = shingles_of_rows(rows)
    _, heads, head_of = np.unique(shingles.whole(), return_index=True, return_inverse=True)
    order = np.argsort(heads, kind="stable")  # the first of each set, in the order of the texts
    leader = np.empty(len(heads), dtype=np.int64)
    overlap = np.ones(len(heads))
    buckets: dict[tuple[int, int], list[int]] = {}
    for place in order.tolist():
        own = int(heads[place])
        keys = list(enumerate(bands[rows[own]].tolist()))
        candidates = Counter(other for key in keys for other in buckets.get(key, ()))
        leader[place] = own
        if candidates:
            ranked = sorted(candidates.items(), key=lambda item: (-item[1], item[0]))[
                :MOST_COMPARED
            ]
            others = np.array(sorted(other for other, _ in ranked))
            overlaps = jaccard_with(shingles, own, others)
            best = int(np.argmax(overlaps))
            if overlaps[best] >= threshold:
                leader[place], overlap[place] = others[best], overlaps[best]
                continue
        for key in keys:
            bucket = buckets.setdefault(key, [])
            if len(bucket) < MOST_IN_BUCKET:
                bucket.append(own)
    result.representative[rows] = rows[leader[head_of]]
    result.similarity[rows] = overlap[head_of]
    return result
