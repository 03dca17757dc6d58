import time

import numpy as np
import pytest

from curate.algorithms import near_duplicates
from curate.algorithms.minhash import (
    Shingles,
    band_hashes,
    bands_and_rows,
    jaccard_with,
    shingles_of,
    signatures,
)
from curate.algorithms.near_duplicates import find_copies


def copies_of(texts, threshold=0.6, bands=None):
    shingles = shingles_of(texts, 2)
    if bands is None:
        bands = band_hashes(signatures(shingles, 128), *bands_and_rows(threshold, 128))
    found = find_copies(bands, shingles.take, threshold)
    return found.representative.tolist(), found.similarity.tolist()


def slow(texts, threshold):
    """Compare each text with every earlier one that is no copy, most similar and first of equals."""
    shingles = shingles_of(texts, 2)
    kept, representative, similarity = [], [], []
    for row in range(len(texts)):
        overlaps = jaccard_with(shingles, row, np.array(kept)) if kept else np.zeros(1)
        best = int(np.argmax(overlaps))
        if overlaps[best] >= threshold:
            representative.append(kept[best])
            similarity.append(overlaps[best])
        else:
            kept.append(row)
            representative.append(row)
            similarity.append(1.0)
    return representative, similarity


def made_up(n, rng):
    """Texts of which some are others with one to four words replaced, or cut."""
    texts = [" ".join(map(str, rng.integers(0, 400, 30))) for _ in range(n)]
    for _ in range(2 * n):
        words = texts[rng.integers(0, n)].split()
        for at in rng.integers(0, len(words), rng.integers(1, 4)):
            words[at] = str(rng.integers(0, 400))
        texts[rng.integers(0, n)] = " ".join(words[: rng.integers(20, 31)])
    return texts


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_comparing_all_with_all_where_every_pair_is_a_candidate(seed, monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_IN_BUCKET", 1000)
    monkeypatch.setattr(near_duplicates, "MOST_COMPARED", 1000)
    texts = made_up(60, np.random.default_rng(seed))
    bands = np.zeros((len(texts), 1), dtype=np.int32)
    expected = slow(texts, 0.6)
    assert len(set(expected[0])) < 50
    assert copies_of(texts, bands=bands) == expected


def test_bands_find_nearly_all_of_them():
    rng = np.random.default_rng(7)
    texts = made_up(400, rng)
    expected, _ = slow(texts, 0.6)
    found, similarity = copies_of(texts)
    copies = [row for row, of in enumerate(expected) if row != of]
    assert len(copies) > 100
    assert np.mean([found[row] != row for row in copies]) > 0.97
    assert min(similarity) >= 0.6


def test_a_chain_keeps_its_far_end():
    a, b, c = "1 2 3 4 5 6 7 8", "2 3 4 5 6 7 8 9", "3 4 5 6 7 8 9 10"
    assert copies_of([a, b, c], 0.7) == ([0, 0, 2], [1.0, 0.75, 1.0])


def test_the_most_similar_representative_is_named():
    far, near, text = "1 2 3 4 5 6 7 8 9", "3 4 5 6 7 8 9 10 11", "2 3 4 5 6 7 8 9 10"
    bands = np.zeros((4, 1), dtype=np.int32)
    assert copies_of([far, near, text, near], 0.7, bands)[0] == [0, 1, 0, 1]
    assert copies_of([far, near, f"{near} 12"], 0.7, bands[:3])[0] == [0, 1, 1]


def test_no_texts_and_no_candidates():
    assert copies_of(["red cup"]) == ([0], [1.0])
    empty = find_copies(np.zeros((0, 4), np.int32), lambda rows: pytest.fail("read"), 0.8)
    assert len(empty.representative) == 0


def test_a_hundred_thousand_equal_texts_take_no_longer_than_others():
    n = 100_000
    shingles = Shingles(np.tile(np.arange(20, dtype=np.uint32), n), np.arange(0, 20 * n + 1, 20))
    began = time.perf_counter()
    found = find_copies(np.ones((n, 16), dtype=np.int32), shingles.take, 0.8)
    assert not found.representative.any()
    assert time.perf_counter() - began < 20


def test_texts_of_one_template_are_not_compared_all_with_all(monkeypatch):
    n, asked = 300, []
    counted = near_duplicates.jaccard_with

    def count(shingles, text, others):
        asked.append(len(others))
        return counted(shingles, text, others)

    monkeypatch.setattr(near_duplicates, "jaccard_with", count)
    texts = [f"Name the capital of {k} and the river that runs through {-k}" for k in range(n)]
    representative, _ = copies_of(texts, 0.9, np.zeros((n, 2), dtype=np.int32))
    assert representative == list(range(n))
    assert max(asked) == near_duplicates.MOST_COMPARED
