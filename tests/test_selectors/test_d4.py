import numpy as np
import pytest

from curate.contracts import Budget, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

D4 = get_selector("d4")
SemDeDup = get_selector("semdedup")


def view_of(points, tokens=None):
    points = np.asarray(points, dtype=np.float32)
    ids = np.array([f"{row:04d}".encode() for row in range(len(points))])
    vectors = {"embedding.vector": Vectors(points)}
    return View(ids, vectors_by_column=vectors, tokens=None if tokens is None else np.array(tokens))


def choose(points, budget, seed=0, tokens=None, **settings):
    view = view_of(points, tokens)
    return D4(**settings).select(view, Budget.parse(budget), np.random.default_rng(seed))


def planted(seed, n=120):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 4))
    points[n // 2 :] = points[: n // 2] + 1e-3 * rng.normal(size=(n // 2, 4))
    return points


def test_with_one_cluster_it_is_dedup_and_then_the_farthest_from_the_mean():
    """With one cluster k-means has nothing to choose: its centroid is the mean direction."""
    points = planted(1).astype(np.float32).astype(np.float64)
    units = points / np.linalg.norm(points, axis=1, keepdims=True)

    def by_centroid(rows):  # of spherical k-means: the sum of the vectors, scaled to length 1
        centroid = points[rows].sum(axis=0)
        return units[rows] @ (centroid / np.linalg.norm(centroid))

    order = np.argsort(by_centroid(np.arange(120)).round(6), kind="stable")
    highest = np.full(120, -1.0)
    for place, row in enumerate(order):
        highest[row] = max((units[row] @ units[other] for other in order[:place]), default=-1.0)
    kept = np.sort(np.argsort(highest, kind="stable")[:60])
    expected = kept[np.argsort(by_centroid(kept).round(6), kind="stable")]
    chosen = choose(points, 60, dedup=0.5, n_clusters=1)
    assert chosen.indices.tolist() == expected.tolist()
    assert chosen.gains == pytest.approx(1 - by_centroid(expected), abs=1e-6)


@pytest.mark.parametrize("n_clusters", [1, 4])
def test_all_that_the_first_step_keeps_is_what_semdedup_selects(n_clusters):
    points = planted(2)
    for share, size in ((0.5, 60), (0.75, 90), (1.0, 120)):
        chosen = choose(points, size, seed=3, dedup=share, n_clusters=n_clusters)
        other = SemDeDup(n_clusters=n_clusters).select(
            view_of(points), Budget(size), np.random.default_rng(3)
        )
        assert sorted(chosen.indices.tolist()) == sorted(other.indices.tolist())


def test_what_is_dropped_is_nearest_to_its_centroid_in_the_second_clustering():
    rng = np.random.default_rng(5)
    crowd = np.array([1.0, 0, 0]) + rng.normal(scale=0.05, size=(30, 3))
    pair = np.array([0, 1.0, 0]) + rng.normal(scale=0.05, size=(30, 3))
    points = np.concatenate([crowd, [[1, 0, 0.9]], pair, [[0, 1, 0.9]]])
    chosen = choose(points, 2, dedup=1.0, n_clusters=2)
    assert sorted(chosen.indices.tolist()) == [30, 61]
    assert chosen.reasons[0].startswith("cosine with its centroid 0.7")


def test_more_than_the_first_step_keeps_is_filled_up_and_said():
    chosen = choose([[1, 0], [1, 0], [0, 1], [1, 1]], 4, n_clusters=1)
    assert chosen.indices.tolist()[-1] == 1
    assert chosen.reasons[-1] == "near another, cosine 1.0000"
    assert chosen.warnings == (
        (
            "4 examples were asked for and d4.dedup=0.75 keeps 3 of 4: the last 1 are near others; "
            "ask for at most 3, or raise d4.dedup"
        ),
    )
    assert choose([[1, 0], [1, 0], [0, 1], [1, 1]], 3, n_clusters=1).warnings == ()


def test_a_token_budget_takes_as_many_as_fit():
    tokens = 10 + np.arange(120)
    chosen = choose(planted(3), "900tok", tokens=tokens)
    longer = choose(planted(3), len(chosen) + 1)
    assert chosen.indices.tolist() == longer.indices.tolist()[:-1]
    assert tokens[chosen.indices].sum() <= 900 < tokens[longer.indices].sum()


def test_zero_vectors_are_left_out_and_wrong_settings_refused():
    chosen = choose([[0, 0], [1, 0], [np.nan, 1]], 1)
    assert chosen.indices.tolist() == [1]
    assert chosen.excluded == {"embedding is not finite": 1, "embedding has length 0": 1}
    with pytest.raises(ConfigError, match="no embedding 'embedding' is finite and longer than 0"):
        choose([[0, 0]], 1)
    with pytest.raises(BudgetError, match="only 1 are eligible"):
        choose([[0, 0], [1, 0]], 2)
    with pytest.raises(BudgetError, match="d4 needs a budget"):
        D4().select(view_of([[1, 0]]), None, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"d4\.dedup=0 is the share of examples kept"):
        D4(dedup=0.0)
    with pytest.raises(ConfigError, match=r"d4\.n_clusters must be at least 1, got 0"):
        D4(n_clusters=0)
    assert D4(embedding="mine").requires() == {"mine": Need(None)}
