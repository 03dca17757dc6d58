"""The comparison on planted copies: what is planted."""

import numpy as np
import polars as pl
import pytest

from jobs.compare.duplicates import CHANGES, plant

TEXT = (
    "One two three, four five. Six seven eight nine ten! Eleven twelve thirteen fourteen fifteen."
)


def changed(kind, text=TEXT):
    return CHANGES[kind](text, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["exact", "case", "whitespace"])
def test_the_words_stay(kind):
    assert changed(kind).lower().split() == TEXT.lower().split()


def test_each_kind_changes_what_it_says():
    assert changed("punctuation", "Don't, said he_ (I).") == "Don t  said he   I  !"
    assert sorted(changed("sentences reordered").split()) == sorted(TEXT.split())
    assert changed("sentences reordered") != TEXT
    assert changed("first 50%").split() == TEXT.split()[:8]
    replaced = np.array(changed("20% of words replaced").split()) != np.array(TEXT.split())
    assert replaced.sum() == 3


def test_every_kind_gets_rows_of_its_own():
    rows = pl.DataFrame({"prompt": [str(k) for k in range(30)], "response": [TEXT] * 30})
    planted = plant(rows, 3, np.random.default_rng(1))
    assert len({copy.origin for copy in planted}) == len(planted) == 3 * len(CHANGES)
    assert {copy.kind for copy in planted} == set(CHANGES)
