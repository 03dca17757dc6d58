import itertools

import numpy as np
import pytest

from curate.contracts import Budget, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

KCenter = get_selector("k-center")


def view_of(points, tokens=None):
    points = np.asarray(points, dtype=np.float32)
    ids = np.array([f"{row:04d}".encode() for row in range(len(points))])
    vectors = {"embedding.vector": Vectors(points)}
    return View(ids, vectors_by_column=vectors, tokens=None if tokens is None else np.array(tokens))


def choose(view, budget, seed=0, **settings):
    return KCenter(**settings).select(view, Budget.parse(budget), np.random.default_rng(seed))


def slow(points, first, k):
    """Measure every row against every pick at every step."""
    picks, far = [first], []
    for _ in range(k - 1):
        nearest = [min(np.linalg.norm(row - points[p]) for p in picks) for row in points]
        picks.append(int(np.argmax([-1 if r in picks else d for r, d in enumerate(nearest)])))
        far.append(max(nearest))
    return picks, far


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [7, 8_192])
def test_picks_are_those_of_the_slow_greedy(metric, block, monkeypatch):
    monkeypatch.setattr("curate.algorithms.farthest_first.BLOCK_ROWS", block)
    points = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32).astype(np.float64)
    chosen = choose(view_of(points), 25, metric=metric)
    if metric == "cosine":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    picks, far = slow(points, int(chosen.indices[0]), 25)
    assert chosen.indices.tolist() == picks
    assert chosen.gains[1:] == pytest.approx(far, rel=1e-5)
    assert (np.diff(chosen.gains) <= 1e-6).all()


def test_no_example_is_farther_than_twice_the_best_possible():
    rng = np.random.default_rng(8)
    for seed in range(10):
        points = rng.normal(size=(11, 2)).astype(np.float32)

        def radius(centres, points=points):
            return max(min(np.linalg.norm(p - points[c]) for c in centres) for p in points)

        best = min(radius(one) for one in itertools.combinations(range(11), 3))
        chosen = choose(view_of(points), 3, seed, metric="euclidean")
        assert radius(chosen.indices.tolist()) <= 2 * best + 1e-6


def test_copies_come_last_in_order_of_id():
    points = [[1, 0], [1, 0], [0, 1], [0, 2], [-1, 0]]
    chosen = choose(view_of(points), 5)
    assert chosen.gains[3:].tolist() == [0, 0]
    assert (np.diff(chosen.indices[3:]) > 0).all()


def test_a_token_budget_takes_as_many_as_fit():
    view = view_of(np.eye(6), tokens=[10, 20, 30, 40, 50, 60])
    chosen = choose(view, "100tok")
    same = choose(view, len(chosen))
    assert chosen.indices.tolist() == same.indices.tolist()
    assert view.tokens[chosen.indices].sum() <= 100
    assert view.tokens[choose(view, len(chosen) + 1).indices].sum() > 100


def test_what_cannot_be_chosen_is_said():
    chosen = choose(view_of([[0, 0], [1, 0], [np.nan, 1]]), 1)
    assert chosen.indices.tolist() == [1]
    assert chosen.excluded == {"embedding is not finite": 1, "embedding has length 0": 1}
    with pytest.raises(BudgetError, match="only 1 are eligible"):
        choose(view_of([[0, 0], [1, 0]]), 2)
    with pytest.raises(ConfigError, match="no embedding 'embedding' is finite and longer than 0"):
        choose(view_of([[0, 0]]), 1)
    with pytest.raises(BudgetError, match="k-center needs a budget"):
        KCenter().select(view_of([[1, 0]]), None, np.random.default_rng(0))
    assert KCenter(embedding="mine").requires() == {"mine": Need(None)}
