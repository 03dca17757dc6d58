"""DSIR: weights equal the paper's formula over dense counts, draws are a Gumbel top-k."""

import tracemalloc

import numpy as np
import pytest

from curate import Budget, BudgetError, View
from curate.scorers.hashed_ngrams import in_buckets
from curate_selectors.dsir import DSIR, bucket_shares, log_weights

BUCKETS = 50
POOL = ["the cat sat", "a dog ran", "blue sea", "the cat sat", "x", "the blue cat ran to the sea"]
TARGET = ["the cat ran", "the cat sat down"]


def lists(texts, buckets=BUCKETS):
    column = np.empty(len(texts), dtype=object)
    column[:] = [in_buckets(text, buckets) for text in texts]
    return column


def view(pool=POOL, target=TARGET, buckets=BUCKETS):
    def one(texts, **rest):
        ids = np.array([f"{n:04}" for n in range(len(texts))], dtype="S32")
        return View(ids, columns={"ngrams.buckets": lists(texts, buckets)}, **rest)

    return one(pool, target=one(target))


def dense_weights():
    """Counts as a dense matrix, shares, and the dot product of the paper's code."""
    counts = {
        name: np.array([np.bincount(one, minlength=BUCKETS) for one in lists(texts)])
        for name, texts in (("pool", POOL), ("target", TARGET))
    }
    shares = {name: found.sum(axis=0) / found.sum() for name, found in counts.items()}
    return counts["pool"] @ (np.log(shares["target"] + 1e-8) - np.log(shares["pool"] + 1e-8))


def flat(texts):
    found = lists(texts)
    return np.concatenate(found), np.array([len(one) for one in found])


def weights_of(pool, target):
    return log_weights(pool, bucket_shares(*pool, BUCKETS), bucket_shares(*target, BUCKETS))


def test_weights_are_the_formula_over_dense_counts():
    assert np.allclose(weights_of(flat(POOL), flat(TARGET)), dense_weights(), rtol=1e-12)


def test_weights_take_no_memory_beside_the_buckets_and_are_the_same_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 40, 20_000)
    pool = rng.integers(0, BUCKETS, lengths.sum()).astype(np.int32), lengths
    whole = weights_of(pool, flat(TARGET))
    monkeypatch.setattr("curate.algorithms.targeted.AT_ONCE", 1_000)
    tracemalloc.start()
    in_blocks = weights_of(pool, flat(TARGET))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert in_blocks.tobytes() == whole.tobytes()
    assert peak < pool[0].nbytes / 2


def test_a_draw_adds_gumbel_noise_of_the_seed_and_takes_the_highest():
    chosen = DSIR(BUCKETS).select(view(), Budget(4), np.random.default_rng(5))
    keys = dense_weights() + np.random.default_rng(5).gumbel(size=len(POOL))
    assert chosen.indices.tolist() == np.argsort(-keys, kind="stable")[:4].tolist()
    assert np.allclose(chosen.gains, dense_weights()[chosen.indices], rtol=1e-12)


def test_without_a_draw_the_highest_weights_come_first_and_ties_by_id():
    chosen = DSIR(BUCKETS, draw=False).select(view(), Budget(len(POOL)), np.random.default_rng(0))
    assert chosen.indices.tolist() == np.argsort(-dense_weights().round(9), kind="stable").tolist()
    assert chosen.indices.tolist().index(0) + 1 == chosen.indices.tolist().index(3)


def test_examples_are_drawn_in_proportion_to_their_weight():
    pool = ["a", "b", "b", "b"]
    picks = [
        DSIR(BUCKETS).select(view(pool, ["a", "b"]), Budget(1), np.random.default_rng(s)).indices[0]
        for s in range(2_000)
    ]
    weights = np.exp(weights_of(flat(pool), flat(["a", "b"])))
    assert abs(np.mean(np.array(picks) == 0) - weights[0] / weights.sum()) < 0.04


def test_a_target_in_another_language_is_said_and_a_budget_is_needed():
    strange = view(target=["katze", "hund meer wal"], buckets=10_000)
    [warning] = DSIR().select(strange, Budget(2), np.random.default_rng(0)).warnings
    assert "of the words and pairs of the target set are in no bucket of the pool" in warning
    with pytest.raises(BudgetError, match="dsir needs a budget"):
        DSIR(BUCKETS).select(view(), None, np.random.default_rng(0))
