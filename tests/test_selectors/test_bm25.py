"""BM25 equals the formula computed word by word, and bm25s."""

from math import log

import bm25s
import numpy as np
import pytest

from curate import Budget, ConfigError, View
from curate.scorers.words import numbers
from curate_selectors.bm25 import BM25, TargetBM25

POOL = [
    "the cat sat on the mat", "a dog and a cat and a dog", "the sea is blue", "blue cat blue",
    "say four", "the the the the the the the the", "a mat",
]  # fmt: skip
QUERIES = ["where is the blue cat", "dog dog", "mat of the sea", "zebra"]


def lists(texts):
    column = np.empty(len(texts), dtype=object)
    column[:] = [numbers(text) for text in texts]
    return column


def flat(texts):
    found = lists(texts)
    return np.concatenate(found), np.array([len(one) for one in found])


def view(pool=POOL, queries=QUERIES, **more):
    def one(texts, **rest):
        ids = np.array([f"{n:04}" for n in range(len(texts))], dtype="S32")
        return View(ids, columns={"words.hashes": lists(texts)}, **rest)

    return one(pool, target=one(queries), **more)


def slow(pool, query, k1=1.5, b=0.75):
    documents = [text.split() for text in pool]
    mean = sum(map(len, documents)) / len(documents)
    found = []
    for words in documents:
        score = 0.0
        for word in query.split():
            df = sum(word in other for other in documents)
            tf = words.count(word)
            idf = log(1 + (len(pool) - df + 0.5) / (df + 0.5))
            score += idf * tf / (tf + k1 * (1 - b + b * len(words) / mean))
        found.append(score)
    return found


def scores(k1=1.5, b=0.75, together=False):
    found = TargetBM25.of(flat(POOL), flat(QUERIES), k1=k1, b=b, together=together)
    return found.block(np.arange(len(POOL)), np.arange(found.n_targets))


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (0.01, 0.0), (2.0, 1.0)])
def test_scores_are_the_formula_word_by_word(k1, b):
    expected = np.array([slow(POOL, query, k1, b) for query in QUERIES]).T
    assert np.allclose(scores(k1, b), expected, rtol=0, atol=1e-12)


def test_scores_are_the_same_in_blocks(monkeypatch):
    whole = scores()
    monkeypatch.setattr("curate.algorithms.targeted.AT_ONCE", 7)
    assert scores().tobytes() == whole.tobytes()


def test_scores_are_those_of_bm25s():
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index([text.split() for text in POOL], show_progress=False)
    for place, query in enumerate(QUERIES[:3]):
        known = [word for word in query.split() if any(word in text.split() for text in POOL)]
        assert np.allclose(scores()[:, place], index.get_scores(known), rtol=1e-5)


def test_the_sum_is_that_of_all_queries():
    assert np.allclose(scores(together=True)[:, 0], scores().sum(axis=1), rtol=0, atol=1e-12)
    chosen = BM25(aggregate="sum").select(view(), Budget(3), np.random.default_rng(0))
    assert chosen.indices.tolist() == np.argsort(-scores().sum(axis=1), kind="stable")[:3].tolist()
    assert chosen.reasons[0].endswith("with all 4 target examples together")


def test_queries_take_turns():
    chosen = BM25().select(view(), Budget(3), np.random.default_rng(1))
    order = np.random.default_rng(1).permutation(4)
    left, expected = set(range(len(POOL))), []
    for target in order[:3]:
        best = min(left, key=lambda row: (-scores()[row, target].round(10), row))
        left.discard(best)
        expected.append(best)
    assert chosen.indices.tolist() == expected


def test_a_target_in_another_language_is_said():
    strange = view(queries=["wo ist die blaue katze", "der hund im meer"])
    [warning] = BM25().select(strange, Budget(2), np.random.default_rng(0)).warnings
    assert warning.startswith("100% of the words of the target set are in no example of the pool")
    assert BM25().select(view(), Budget(2), np.random.default_rng(0)).warnings == ()


def test_picks_that_share_no_word_with_the_target_are_counted():
    rare = view(queries=["the blue cat sat"])
    n_related = sum(value > 0 for value in slow(POOL, "the blue cat sat"))
    chosen = BM25().select(rare, Budget(len(POOL)), np.random.default_rng(0))
    assert 0 < n_related < len(POOL)
    assert chosen.warnings == (
        f"{len(POOL) - n_related} of {len(POOL)} picks share no word with the target set",
    )


def test_what_is_asked_for_may_be_another_part_than_what_is_searched():
    needs = BM25(query="prompt").requires()
    assert (needs["words"].config, needs["query"].config) == ({"part": "full"}, {"part": "prompt"})


@pytest.mark.parametrize(
    ("fields", "words"), [({"k1": -1.0}, "bm25.k1=-1 must be at least 0"), ({"b": 2.0}, "bm25.b=2 must be 0 to 1")]
)  # fmt: skip
def test_settings_out_of_range_are_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        BM25(**fields)
