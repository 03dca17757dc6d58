import itertools

import numpy as np
import pytest

from curate.contracts import Budget, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

FacilityLocation = get_selector("facility-location")


def view_of(points, tokens=None):
    points = np.asarray(points, dtype=np.float32)
    ids = np.array([f"{row:04d}".encode() for row in range(len(points))])
    vectors = {"embedding.vector": Vectors(points)}
    return View(ids, vectors_by_column=vectors, tokens=None if tokens is None else np.array(tokens))


def choose(view, budget, **settings):
    rng = np.random.default_rng(0)
    return FacilityLocation(**settings).select(view, Budget.parse(budget), rng)


def similarities(points, k):
    """Return the whole matrix: row i's similarity to j, if j is itself or one of its k nearest."""
    points = np.asarray(points, dtype=np.float32).astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosines = points @ points.T
    result = np.zeros_like(cosines)
    for i, row in enumerate(cosines):
        nearest = [j for j in np.argsort(-row, kind="stable") if j != i][:k]
        result[i, nearest] = np.maximum(row[nearest], 0)
        result[i, i] = 1
    return np.rint(result * 1e9).astype(np.int64)


def slow(similarity, k):
    """Evaluate every row before each pick; of equal ones the first."""
    picks, gains = [], []
    covered = np.zeros(len(similarity), dtype=np.int64)
    for _ in range(k):
        added = [
            -1 if j in picks else int(np.maximum(similarity[:, j] - covered, 0).sum())
            for j in range(len(similarity))
        ]
        picks.append(int(np.argmax(added)))
        gains.append(max(added) / 1e9)
        covered = np.maximum(covered, similarity[:, picks[-1]])
    return picks, gains


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("neighbours", [1, 6, 30, 1_000])
def test_picks_are_those_of_the_dense_greedy_on_the_same_graph(seed, neighbours):
    points = np.random.default_rng(seed).normal(size=(90, 5))
    chosen = choose(view_of(points), 90, neighbours=neighbours)
    picks, gains = slow(similarities(points, neighbours), 90)
    assert chosen.indices.tolist() == picks
    assert chosen.gains.tolist() == gains
    assert (np.diff(chosen.gains) <= 0).all()


def test_equal_gains_go_to_the_smaller_id():
    """Grids and copies: nearly every gain is that of many others."""
    corners = np.array(list(itertools.product([-1, 1], repeat=4)), dtype=float)
    chosen = choose(view_of(np.repeat(corners, 2, axis=0)), 32)
    picks, _ = slow(similarities(np.repeat(corners, 2, axis=0), 31), 32)
    assert chosen.indices.tolist() == picks
    assert chosen.indices[0] == 0
    assert chosen.gains[16:].tolist() == [0.0] * 16
    assert chosen.indices[16:].tolist() == list(range(1, 32, 2))


def test_the_sum_is_at_least_its_share_of_the_highest_possible():
    for seed in range(6):
        points = np.random.default_rng(seed).normal(size=(11, 2))
        similarity = similarities(points, 10)
        sums = [similarity[:, s].max(axis=1).sum() for s in itertools.combinations(range(11), 3)]
        reached = choose(view_of(points), 3).gains.sum() * 1e9
        assert (1 - 1 / np.e) * max(sums) <= reached <= max(sums)


def test_what_stands_for_most_comes_first_and_an_outlier_last():
    rng = np.random.default_rng(1)
    crowd = np.array([1.0, 0, 0]) + rng.normal(scale=0.05, size=(20, 3))
    pair = np.array([0, 1.0, 0]) + rng.normal(scale=0.05, size=(5, 3))
    points = np.concatenate([[[0, 0, 1.0]], pair, crowd])
    first = choose(view_of(points), 3).indices
    assert first[0] >= 6 and 1 <= first[1] <= 5 and first[2] == 0


def test_a_token_budget_takes_as_many_as_fit():
    points = np.random.default_rng(3).normal(size=(30, 4))
    view = view_of(points, tokens=10 + np.arange(30))
    chosen = choose(view, "200tok")
    same = choose(view, len(chosen))
    assert chosen.indices.tolist() == same.indices.tolist()
    assert view.tokens[chosen.indices].sum() <= 200
    assert view.tokens[choose(view, len(chosen) + 1).indices].sum() > 200


def test_examples_without_a_similar_pick_are_counted():
    points = np.random.default_rng(4).normal(size=(60, 8))
    chosen = choose(view_of(points), 2, neighbours=3)
    covered = similarities(points, 3)[:, chosen.indices].max(axis=1)
    warning = (
        f"{(covered == 0).sum()} of 60 examples have no pick among their 3 nearest neighbours and "
        "counted as similar to none; compare more with --set facility-location.neighbours=12, or "
        "select more"
    )
    assert chosen.warnings == (warning,)
    assert choose(view_of(points), 60, neighbours=3).warnings == ()
    assert choose(view_of([[1, 0], [-1, 0]]), 1).warnings == ()


def test_what_cannot_be_chosen_is_said():
    chosen = choose(view_of([[0, 0], [1, 0], [np.nan, 1]]), 1)
    assert chosen.indices.tolist() == [1]
    assert chosen.excluded == {"embedding is not finite": 1, "embedding has length 0": 1}
    with pytest.raises(BudgetError, match="only 1 are eligible"):
        choose(view_of([[0, 0], [1, 0]]), 2)
    with pytest.raises(ConfigError, match="no embedding 'embedding' is finite and longer than 0"):
        choose(view_of([[0, 0]]), 1)
    with pytest.raises(BudgetError, match="facility-location needs a budget"):
        FacilityLocation().select(view_of([[1, 0]]), None, np.random.default_rng(0))
    with pytest.raises(
        ConfigError, match=r"facility-location\.neighbours must be at least 1, got 0"
    ):
        FacilityLocation(neighbours=0)
    assert FacilityLocation(embedding="mine").requires() == {"mine": Need(None)}
