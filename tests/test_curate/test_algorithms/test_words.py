"""Words as hashes, against the standard library's `re` and slow references."""

import random
import re

import numpy as np

from curate.algorithms import words as words_module
from curate.algorithms.words import N_GRAM, repeated, repeats, spelled, words_of

TEXTS = [
    "Say  Red.", "say red", "", " \n", "naïve CAFÉ_2, ½ ②", "ΟΔΟΣ οδος", "שלום עולם", "हिन्दी शब्द",
    "日本語テキスト 123", "İstanbul ISTANBUL", "a\u200bb \x00c", "it's 3.14",
]  # fmt: skip


def test_half_of_a_surrogate_pair_parts_two_words():
    words = words_of(["a\ud800b \U0001d7d8", "a b \ud835\udfd8"])
    assert words.lengths.tolist() == [3, 3]
    assert (words.hashes[:3] == words.hashes[3:]).all()
    assert spelled("A\ud800b") == ["a", "b"]


def test_words_are_those_of_the_standard_library():
    expected = [re.findall(r"\w+", text.lower()) for text in TEXTS]
    words = words_of(TEXTS)
    assert words.lengths.tolist() == [len(one) for one in expected]
    flat = [word for one in expected for word in one]
    by_hash = dict(zip(words.hashes.tolist(), flat, strict=True))
    assert len(by_hash) == len(set(flat))
    assert [by_hash[h] for h in words.hashes.tolist()] == flat
    assert words_of(["red say"]).hashes[0] == words.hashes[1]  # the same in another call


def test_tables_of_bytes_find_the_words_of_the_pattern_in_every_script(monkeypatch):
    monkeypatch.setattr(words_module, "_BYTES_AT_ONCE", 40)
    rng = random.Random(0)
    characters = "aBz09_ .,'\n-" + "éÉς’“İıKſẞ日½②\u0301\u200bशन्दी🙂ﬀ"
    long = ["q" * 70 + " b" + "R" * 8, "x" * 9 + " " + "Y" * 64, "z" * 65 + "é " + "w" * 300]
    for sigma in ("", "Σ"):
        texts = ["".join(rng.choices(characters + sigma, k=rng.randrange(30))) for _ in range(400)]
        found = words_of([*texts, "", *long])
        expected = words_module._by_pattern([*texts, "", *long], words_module.WORD)
        assert found.lengths.tolist() == expected.lengths.tolist()
        assert found.hashes.tolist() == expected.hashes.tolist()
    assert words_of([]).lengths.tolist() == words_of([]).hashes.tolist() == []


def test_whole_texts_and_runs_are_equal_where_their_words_are():
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abc", k=rng.randrange(40))) for _ in range(60)]
    texts += [text.upper() for text in texts[:10]]
    words = [text.lower().split() for text in texts]
    found = words_of(texts)
    whole = found.whole().tolist()
    pairs = list(zip(words, whole, strict=True))
    assert all((a == b) == (u == v) for a, u in pairs for b, v in pairs)
    runs, of, _ = found.runs_at(N_GRAM)
    expected = [
        (k, tuple(one[at : at + N_GRAM]))
        for k, one in enumerate(words)
        for at in range(len(one) - N_GRAM + 1)
    ]
    assert of.tolist() == [k for k, _ in expected]
    known = set(zip(runs.tolist(), (run for _, run in expected), strict=True))
    assert len(known) == len({run for _, run in known}) == len({h for h, _ in known})


def test_repeated_hashes_are_found_where_they_stand():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 500, dtype=np.uint64)[rng.integers(0, 500, 800)]
    values, counts = np.unique(hashes, return_counts=True)
    expected = np.flatnonzero(np.isin(hashes, values[counts > 1]))
    assert repeated(hashes).tolist() == expected.tolist()
    assert repeated(values).tolist() == repeated(hashes[:0]).tolist() == []


def test_hashes_that_differ_only_in_their_first_bits_are_no_repeats_of_each_other():
    rng = np.random.default_rng(0)
    first, last = rng.integers(0, 4, 800, dtype=np.uint64), rng.integers(0, 700, 800)
    hashes = first << np.uint64(62) | last.astype(np.uint64)
    places, numbers = repeats(hashes)
    _, of, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    assert sorted(places.tolist()) == np.flatnonzero(counts[of] > 1).tolist()
    together = np.split(places, np.flatnonzero(np.diff(numbers)) + 1)
    assert all(len({*hashes[some].tolist()}) == 1 for some in together)
    assert all(some.tolist() == sorted(some.tolist()) for some in together)
    assert numbers.tolist() == np.repeat(range(len(together)), [*map(len, together)]).tolist()
    assert len(together) == (counts > 1).sum() > 50
    assert len(np.unique(last)) < len(np.unique(hashes))
