import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.algorithms.minhash import (
    band_hashes,
    bands_and_rows,
    jaccard_with,
    join,
    shingles_of,
    signatures,
)

WORDS = st.lists(st.sampled_from(["red", "green", "blue", "tea", "cup"]), max_size=9)
TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=8)


def runs(text, n):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, 1))}


def overlap(one, other):
    return len(one & other) / len(one | other)


@given(TEXTS, st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_overlaps_are_those_of_sets_of_runs(texts, n):
    shingles = shingles_of(texts, n)
    sets = [runs(text, n) for text in texts]
    assert np.diff(shingles.starts).tolist() == [len(one) for one in sets]
    for row, own in enumerate(sets):
        found = jaccard_with(shingles, row, np.arange(len(texts)))
        assert found.tolist() == [overlap(own, other) for other in sets]
    whole = shingles.whole()
    for row, own in enumerate(sets):
        assert (whole == whole[row]).tolist() == [own == other for other in sets]


def test_case_punctuation_and_blanks_do_not_count_and_order_does():
    texts = ["To be, or not to be.", "TO BE  OR\nnot  to be", "be to or not to be"]
    whole = shingles_of(texts, 5).whole()
    assert whole[0] == whole[1] != whole[2]


def test_a_text_without_words_is_its_own_run():
    whole = shingles_of(["\U0001f642", " \U0001f642 ", "!?", "", "red"], 5).whole()
    assert whole[0] == whole[1]
    assert len(set(whole.tolist())) == 4


def test_half_of_a_surrogate_pair_is_no_word():
    shingles = shingles_of(["red \ud800 cup", "red cup", "\ud800"], 2)
    assert shingles.of(0).tolist() == shingles.of(1).tolist()
    assert len(shingles.of(2)) == 1


def test_scripts_without_blanks_count_by_the_character():
    both = shingles_of(
        [
            "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u5440",
            "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u554a",
        ],
        5,
    )
    assert jaccard_with(both, 0, np.array([1])).tolist() == [2 / 4]


def test_blocks_join_and_rows_are_taken_in_order():
    texts = ["a b c", "d", "e f g h", "b c"]
    whole = shingles_of(texts, 2)
    joined = join([shingles_of(texts[:1], 2), shingles_of(texts[1:], 2)]).take(np.array([3, 0]))
    assert joined.of(0).tolist() == whole.of(3).tolist()
    assert joined.of(1).tolist() == whole.of(0).tolist()


def test_signatures_equal_those_of_datasketch(monkeypatch):
    from datasketch import MinHash

    monkeypatch.setattr("curate.algorithms.minhash.SHINGLES_AT_ONCE", 40)
    texts = [" ".join(str(w * k % 31) for w in range(5 + 17 * (k % 3))) for k in range(1, 12)]
    shingles = shingles_of(texts, 5)
    made = signatures(shingles, 24)
    for row in range(len(texts)):
        theirs = MinHash(24, seed=1, hashfunc=int)
        theirs.update_batch(shingles.of(row).tolist())
        assert made[row].tolist() == theirs.hashvalues.tolist()


def test_bands_are_equal_where_all_rows_are():
    made = np.array([[1, 2, 3, 4], [1, 2, 9, 4], [7, 2, 3, 4]], dtype=np.uint32)
    bands = band_hashes(made, 2, 2)
    assert bands[0, 0] == bands[1, 0] != bands[2, 0]
    assert bands[0, 1] == bands[2, 1] != bands[1, 1]
    assert (bands >= 0).all()


@pytest.mark.parametrize(("threshold", "least"), [(0.5, 0.9), (0.8, 0.94), (0.95, 0.85)])
def test_bands_find_most_pairs_at_the_threshold(threshold, least):
    from datasketch import MinHashLSH

    n_bands, n_rows = bands_and_rows(threshold, 128)
    assert n_bands * n_rows <= 128
    assert 1 - (1 - threshold**n_rows) ** n_bands > least
    theirs = MinHashLSH(threshold=threshold, num_perm=128, weights=(0.05, 0.95))
    assert (theirs.b, theirs.r) == (n_bands, n_rows)
