"""Cosine search by blocks is what comparing every pair, one after the other, gives."""

import tracemalloc

import numpy as np
import pytest

from curate.algorithms import cosine, round_robin
from curate.algorithms.cosine import TargetCosines, apart
from curate.algorithms.round_robin import by_best, by_turns, nearest
from curate.contracts import Vectors, View
from curate.errors import ConfigError


def cosines(pool, target):
    """Return the search over two matrices."""
    ids = np.array([f"{n:04}" for n in range(max(len(pool), len(target)))], dtype="S32")
    beside = View(ids[: len(target)], vectors_by_column={"e.v": Vectors(target)})
    view = View(ids[: len(pool)], vectors_by_column={"e.v": Vectors(pool)}, target=beside)
    return TargetCosines.of(view, "e.v")


def slow_turns(scores, order, n):
    """Rank all candidates for every target example, and let them take turns."""
    left = set(range(len(scores)))
    picks = []
    while len(picks) < n:
        target = order[len(picks) % len(order)]
        row = min(left, key=lambda r: (-scores[r, target], r))
        left.discard(row)
        picks.append((row, target))
    return picks


def made(rng, n, dim=6, distinct=None):
    points = rng.normal(size=(distinct or n, dim)).astype(np.float32)
    return points[rng.integers(0, distinct, n)] if distinct else points


@pytest.fixture(params=[(3, 7), (1_024, 1 << 24)], ids=str)
def small_blocks(request, monkeypatch):
    """Blocks, and lists, so small that every border is crossed."""
    columns, entries = request.param
    monkeypatch.setattr(round_robin, "COLUMNS", columns)
    monkeypatch.setattr(round_robin, "ENTRIES", entries)
    monkeypatch.setattr(round_robin, "SHORTEST", 3)
    monkeypatch.setattr(round_robin, "WINDOW", 5)


@pytest.mark.parametrize("distinct", [None, 5, 1])
@pytest.mark.parametrize(("n", "m"), [(40, 7), (20, 30), (25, 1)])
def test_turns_are_those_of_a_full_ranking_of_every_target(small_blocks, n, m, distinct):
    rng = np.random.default_rng(n + m)
    search = cosines(made(rng, n, distinct=distinct), made(rng, m, distinct=distinct))
    exact = search.block(np.arange(n), np.arange(m)).round(10)
    order = rng.permutation(m)
    for size in (1, n // 2, n):
        picks = by_turns(search, order, size)
        expected = slow_turns(exact, order, size)
        assert list(zip(picks.rows.tolist(), picks.targets.tolist(), strict=True)) == expected
        assert np.array_equal(picks.values, exact[picks.rows, picks.targets])


def test_more_blocks_are_not_more_merges(monkeypatch):
    """Each merge sorts all that is listed, which grows with the pool as the number of blocks does."""
    merges, merge = [], round_robin._merge

    def counted(best, *given):
        merges.append(best.size)
        merge(best, *given)

    monkeypatch.setattr(round_robin, "_merge", counted)
    rng = np.random.default_rng(0)
    search = cosines(made(rng, 9_000), made(rng, 4))
    found = {}
    for height in (3_000, 100):
        monkeypatch.setattr(round_robin, "ENTRIES", 4 * height)
        merges.clear()
        found[height] = nearest(search, np.arange(9_000), np.arange(4), 300)
        assert len(merges) <= 8
    assert all(np.array_equal(a, b) for a, b in zip(*found.values(), strict=True))


@pytest.mark.parametrize("distinct", [None, 4])
def test_the_best_are_ranked_by_their_highest_score(small_blocks, distinct):
    rng = np.random.default_rng(0)
    search = cosines(made(rng, 50, distinct=distinct), made(rng, 9))
    best = search.block(np.arange(50), np.arange(9)).round(10).max(axis=1)
    picks = by_best(search)
    assert picks.rows.tolist() == sorted(range(50), key=lambda row: (-best[row], row))
    assert np.array_equal(picks.values, best[picks.rows])


def test_nearest_of_some_rows_are_the_first_of_a_full_sort(small_blocks):
    rng = np.random.default_rng(1)
    search = cosines(made(rng, 80, distinct=30), made(rng, 12))
    rows = np.flatnonzero(rng.random(80) < 0.6)
    found, values = nearest(search, rows, np.arange(12), 5)
    exact = search.block(np.arange(80), np.arange(12)).round(10)
    for target in range(12):
        expected = sorted(rows.tolist(), key=lambda row: (-exact[row, target], row))[:5]
        assert found[target].tolist() == expected
        assert np.array_equal(values[target], exact[expected, target])


def test_cosines_are_exact_to_double_precision():
    rng = np.random.default_rng(2)
    pool, target = made(rng, 20), made(rng, 4)
    exact = [
        [float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b))) for b in target.astype(float)]
        for a in pool.astype(float)
    ]
    found = cosines(pool, target).block(np.arange(20), np.arange(4))
    assert np.allclose(found, exact, rtol=0, atol=1e-14)


def test_vectors_without_a_cosine_are_left_out_on_both_sides():
    pool = np.array([[1.0, 0], [0, 0], [np.nan, 1], [0, 3]])
    found = cosines(pool, np.array([[0.0, 0], [0, 2]]))
    assert (found.rows.tolist(), found.targets.tolist()) == ([0, 3], [1])
    assert found.excluded == {"embedding is not finite": 1, "embedding has length 0": 1}
    assert found.warnings == ("1 of 2 target examples have a vector of length 0 or not finite",)
    with pytest.raises(ConfigError, match="no vector 'e.v' of the target set is finite"):
        cosines(pool, np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="2 components in the pool and 3 in the target set"):
        cosines(pool, np.ones((2, 3)))


def slow_apart(points, ranking, threshold, limit=None):
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-30)
    kept = []
    for row in ranking:
        if limit is not None and len(kept) == limit:
            break
        if all(round(float(unit[row] @ unit[other]), 12) <= threshold for other in kept):
            kept.append(int(row))
    return kept


@pytest.mark.parametrize("block", [7, 4_096])
@pytest.mark.parametrize("distinct", [None, 20, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.9, 1.0])
def test_what_is_kept_apart_is_what_the_greedy_filter_keeps(
    block, distinct, threshold, monkeypatch
):
    monkeypatch.setattr(cosine, "BLOCK_ROWS", block)
    rng = np.random.default_rng(3)
    points = made(rng, 90, dim=4, distinct=distinct).astype(np.float64)
    points[5] = 0.0
    ranking = rng.permutation(90)
    for limit in (None, 4):
        kept = apart(Vectors(points), ranking, threshold, limit)
        assert kept.tolist() == slow_apart(points, ranking, threshold, limit)


def test_what_is_kept_takes_four_bytes_a_component(monkeypatch):
    monkeypatch.setattr(cosine, "BLOCK_ROWS", 128)
    points = np.random.default_rng(0).normal(size=(6_000, 192)).astype(np.float32)
    tracemalloc.start()
    try:
        kept = apart(Vectors(points), np.arange(6_000), 0.9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) > 5_900
    assert peak < 1.5 * points.nbytes, "twice that in double precision"


def test_a_long_chain_of_neighbours_is_decided_link_by_link():
    angles = np.arange(40) * 0.1
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    kept = apart(Vectors(points), np.arange(40), float(np.cos(0.15)))
    assert kept.tolist() == list(range(0, 40, 2))
