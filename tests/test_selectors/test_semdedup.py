from importlib import import_module

import numpy as np
import pytest

from curate.algorithms import redundancy
from curate.algorithms.cosine import apart
from curate.algorithms.kmeans import kmeans
from curate.algorithms.redundancy import highest_before
from curate.contracts import Budget, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.registry import get_selector

SemDeDup = get_selector("semdedup")


def view_of(points):
    points = np.asarray(points, dtype=np.float32)
    ids = np.array([f"{row:04d}".encode() for row in range(len(points))])
    return View(ids, vectors_by_column={"embedding.vector": Vectors(points)})


def choose(points, budget=None, **settings):
    wanted = None if budget is None else Budget(budget)
    return SemDeDup(**settings).select(view_of(points), wanted, np.random.default_rng(0))


def angle(*degrees):
    return [[np.cos(np.radians(one)), np.sin(np.radians(one))] for one in degrees]


def slow(points, codes, centroids):
    """One pair after the other."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    result = np.full(len(points), -1.0)
    for code in set(codes.tolist()):
        members = [row for row in range(len(points)) if codes[row] == code]
        members.sort(key=lambda row: (float((unit[row] @ centroids[code]).round(12)), row))
        for place, row in enumerate(members):
            before = [float(unit[row] @ unit[other]) for other in members[:place]]
            result[row] = max(before, default=-1.0)
    return result


@pytest.mark.parametrize("tile", [3, 16, 2_048])
def test_tiles_agree_with_one_pair_after_the_other(tile, monkeypatch):
    monkeypatch.setattr(redundancy, "TILE", tile)
    rng = np.random.default_rng(1)
    points, codes = rng.normal(size=(120, 4)), rng.integers(0, 5, 120)
    points[60:70] = points[50:60]
    centroids = rng.normal(size=(5, 4))
    found = highest_before(Vectors(points), np.arange(120), codes, centroids)
    assert found == pytest.approx(slow(points, codes, centroids), abs=1e-11)
    half = np.arange(0, 120, 2)
    part = highest_before(Vectors(points), half, codes[half], centroids)
    assert part == pytest.approx(slow(points[half], codes[half], centroids), abs=1e-11)


def test_a_chain_loses_all_but_its_first():
    # 10 to 12 degrees apart: neighbours are near, others are not. The centroid lies at the end of
    # the chain with most examples, so the other end is least typical and comes first.
    points = angle(0, 12, 24, 34, *np.linspace(34, 34.1, 9))
    chosen = choose(points, n_clusters=1, eps=1 - np.cos(np.radians(15)))
    assert chosen.indices.tolist() == [0]
    assert chosen.warnings[0].startswith("eps=0.0340742 removes 12 of 13 examples (92.3%)")
    kept_only = apart(Vectors(np.array(points)), np.arange(13), np.cos(np.radians(15)))
    assert kept_only.tolist() == [0, 2]


def test_a_budget_is_met_by_removing_the_nearest():
    rng = np.random.default_rng(5)
    points = rng.normal(size=(80, 3))
    points[40:] = points[:40] + 1e-3 * rng.normal(size=(40, 3))
    for eps in (0.001, 0.05, 0.3):
        by_eps = choose(points, eps=eps, n_clusters=4)
        by_size = choose(points, len(by_eps), n_clusters=4)
        assert by_size.indices.tolist() == by_eps.indices.tolist()
    assert (np.diff(by_size.gains) <= 0).all()


def test_more_than_eps_leaves_is_said():
    chosen = choose(np.ones((6, 2)), 4, eps=0.05, n_clusters=1)
    assert len(chosen) == 4
    [warning] = chosen.warnings
    assert warning == (
        "eps=0.05 removes 5 of 6 examples (83.3%), and 4 were asked for: the last 3 are among those; "
        "ask for at most 1, or lower semdedup.eps"
    )
    assert chosen.reasons[0] == "first of its cluster"


def test_clusters_follow_the_size_of_the_pool(monkeypatch):
    asked = []
    module = import_module("curate_selectors.semdedup")

    def count(vectors, n_clusters, **settings):
        asked.append(n_clusters)
        return kmeans(vectors, n_clusters, **settings)

    monkeypatch.setattr(module, "kmeans", count)
    choose(np.random.default_rng(0).normal(size=(2_001, 2)), 5, niter=1)
    assert asked == [3]


def test_zero_vectors_are_left_out_and_wrong_settings_refused():
    chosen = choose([[0, 0], [1, 0], [np.nan, 1]], 1)
    assert chosen.excluded == {"embedding is not finite": 1, "embedding has length 0": 1}
    with pytest.raises(ConfigError, match="no embedding 'embedding' is finite and longer than 0"):
        choose([[0, 0]], eps=0.1)
    with pytest.raises(
        BudgetError, match=r"semdedup needs a budget unless eps is set.*semdedup.eps=0.05"
    ):
        choose([[1, 0]])
    with pytest.raises(ConfigError, match=r"semdedup.eps=5 is one minus a cosine"):
        SemDeDup(eps=5.0)
    assert SemDeDup(embedding="mine").requires() == {"mine": Need(None)}
