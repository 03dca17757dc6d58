"""Folded texts, against words that are hashed one by one."""

import random
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from curate.algorithms import folded
from curate.algorithms.folded import hash_texts
from curate.algorithms.words import N_GRAM, WORD, words_of

CHARACTERS = "aBz09_ .,'\n-\x00" + "éÉς’“İıKſẞÅȺⱥ日½②\u0301\u200bशन्दी🙂ﬀ𐐀"


def _texts(letters: str, n: int = 400) -> list[str]:
    rng = random.Random(0)
    return [
        "".join(rng.choices(letters, k=rng.randrange(30)))
        + " ".join(rng.choices(["red", "Blue", "é", "x1"], k=rng.randrange(40)))
        for _ in range(n)
    ]


def _same_parts(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether equal values of the one stand where equal values of the other do."""
    n = len(np.unique(np.stack([left, right]), axis=1).T)
    return n == len(np.unique(left)) == len(np.unique(right))


@pytest.mark.parametrize("letters", ["aB9_ .", CHARACTERS, CHARACTERS + "Σ"])
@pytest.mark.parametrize("bytes_at_once", [1, 3_000])
def test_texts_and_runs_are_equal_where_their_words_are(monkeypatch, letters, bytes_at_once):
    monkeypatch.setattr(folded, "_BYTES_AT_ONCE", bytes_at_once)
    texts = [*_texts(letters), "", "?!", " red"]
    texts += [text.upper() for text in texts[:50]]
    words, found = words_of(texts), hash_texts([pa.array(texts)])
    assert _same_parts(found.whole, words.whole())
    runs, owners, _ = words.runs_at(N_GRAM)
    assert len(runs) > 1_000
    assert found.owners.tolist() == owners.tolist()
    assert _same_parts(found.runs, runs)


def test_some_runs_are_the_same_ones_of_every_text():
    every, some = (hash_texts([pa.array(_texts("ab ", 2_000))], one_in) for one_in in (1, 7))
    chosen = np.isin(every.runs, some.runs)
    assert some.runs.tolist() == every.runs[chosen].tolist()
    assert some.owners.tolist() == every.owners[chosen].tolist()
    assert 0.9 < 7 * chosen.mean() < 1.1
    one_word = hash_texts([pa.array(["red " * 40] * 3)], 7).runs
    assert len(one_word) in (0, 3 * 28)


def test_every_character_is_folded_as_in_its_text():
    points = [*range(0x3000), *range(0xA000, 0xAC00), *range(0xF900, 0x20000)]
    points += range(0x20000, sys.maxunicode + 1, 89)
    characters = [chr(point) for point in points if not 0xD800 <= point < 0xE000]
    texts = pl.Series([f"Ab{c}{c}c {c} D{c}" for c in characters])
    words = texts.str.to_lowercase().str.extract_all(WORD).list.join(" ")
    found = hash_texts([texts.to_arrow()]).whole
    assert found.tolist() == hash_texts([words.to_arrow()]).whole.tolist()
    assert _same_parts(found, words.rank("dense").to_numpy())


def test_words_end_between_parts_and_a_part_may_be_missing():
    parts = [pa.array(["say r", "say", None, "say"]), pa.array(["ed", "red", "Say red", None])]
    whole = hash_texts(parts).whole
    assert len(set(whole.tolist())) == 3
    assert whole[1] == whole[2]
    assert len(hash_texts([part[1:3] for part in parts]).whole) == 2
    none = hash_texts([parts[0][:0], parts[1][:0]])
    assert none.whole.tolist() == none.runs.tolist() == none.owners.tolist() == []
