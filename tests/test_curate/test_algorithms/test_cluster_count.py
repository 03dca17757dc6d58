from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.algorithms.cluster_count import (
    choose_clusters,
    count_grid,
    elbow,
    silhouette,
    simplified_silhouette,
)
from curate.algorithms.kmeans import Clusters, kmeans, nearest_centroids
from curate.contracts.view import Vectors

SETTINGS = {"seed": 3, "niter": 20, "max_points_per_centroid": 256}


def blobs(n_blobs: int, rows: int, seed: int = 0, dim: int = 6) -> np.ndarray:
    """Gaussian blobs around far corners, in a shuffled order."""
    rng = np.random.default_rng(seed)
    centres = rng.choice([-6.0, 6.0], size=(n_blobs, dim)) + rng.normal(0, 3, (n_blobs, dim))
    points = np.repeat(centres, rows, axis=0) + rng.normal(0, 0.7, (n_blobs * rows, dim))
    return rng.permutation(points).astype(np.float32)


def clustered(points, codes, centroids) -> Clusters:
    return Clusters(np.array(codes), np.zeros(len(codes)), np.array(centroids, np.float32))


def exact_silhouette(points, codes) -> float:
    """The definition: mean distance to the own cluster against that to the nearest other."""
    values = []
    for row, own in enumerate(codes):
        distance = np.linalg.norm(points - points[row], axis=1)
        inside = codes == own
        inside[row] = False
        if not inside.any():
            values.append(0.0)
            continue
        a = distance[inside].mean()
        b = min(distance[codes == c].mean() for c in set(codes.tolist()) - {own})
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


# Nearest centroids -------------------------------------------------------------------------------


def test_nearest_centroids_are_those_of_every_distance_compared():
    rng = np.random.default_rng(0)
    points, centroids = rng.normal(size=(40, 5)), rng.normal(size=(9, 5))
    codes, squared = nearest_centroids(Vectors(points), centroids, 3)
    wanted = ((points[:, None] - centroids[None]) ** 2).sum(-1)
    assert np.array_equal(codes, np.argsort(wanted, axis=1)[:, :3])
    np.testing.assert_allclose(squared, np.sort(wanted, axis=1)[:, :3], rtol=1e-4)


# Simplified silhouette ---------------------------------------------------------------------------


def test_two_clusters_on_a_line_by_hand():
    """Rows 0, 2 around 1 and 9, 11 around 10: (9, 7) against 1 and (8, 10) against 1, inverted."""
    points = np.array([[0.0], [2.0], [9.0], [11.0]])
    clusters = clustered(points, [0, 0, 1, 1], [[1.0], [10.0]])
    wanted = np.mean([1 - 1 / 10, 1 - 1 / 8, 1 - 1 / 8, 1 - 1 / 10])
    assert simplified_silhouette(Vectors(points), clusters) == pytest.approx(wanted)


def test_simplified_silhouette_is_its_formula_on_any_clusters():
    points = np.random.default_rng(1).normal(size=(80, 4)).astype(np.float32)
    found = kmeans(Vectors(points), 7, seed=0)
    values = []
    for row, own in zip(points, found.codes, strict=True):
        distance = np.linalg.norm(found.centroids - row, axis=1)
        a, b = distance[own], np.delete(distance, own).min()
        values.append(0.0 if found.sizes[own] == 1 else (b - a) / max(a, b))
    assert simplified_silhouette(Vectors(points), found) == pytest.approx(np.mean(values), rel=1e-4)


def test_centroids_without_rows_are_nobodys_neighbour():
    points = np.array([[0.0], [2.0], [9.0], [11.0]])
    two = clustered(points, [0, 0, 1, 1], [[1.0], [10.0]])
    three = clustered(points, [0, 0, 2, 2], [[1.0], [3.0], [10.0]])
    assert simplified_silhouette(Vectors(points), two) == pytest.approx(
        simplified_silhouette(Vectors(points), three)
    )


def test_rows_alone_in_their_cluster_count_nothing():
    """Otherwise a cluster for every row would be the best of all."""
    points = np.array([[0.0], [5.0], [9.0]])
    assert simplified_silhouette(Vectors(points), clustered(points, [0, 1, 2], points)) == 0


@pytest.mark.parametrize("points", [np.ones((6, 2)), np.ones((1, 2))], ids=["equal", "one"])
def test_one_cluster_has_no_silhouette(points):
    clusters = kmeans(Vectors(points), 3, seed=0)
    assert simplified_silhouette(Vectors(points), clusters) == 0
    assert silhouette(Vectors(points), clusters.codes) == 0


# Exact silhouette --------------------------------------------------------------------------------


def test_silhouette_is_its_definition():
    points = np.random.default_rng(2).normal(size=(60, 3))
    codes = kmeans(Vectors(points), 9, seed=0).codes
    assert silhouette(Vectors(points), codes) == pytest.approx(exact_silhouette(points, codes))


def test_silhouette_of_a_sample_is_fixed_and_close():
    points = blobs(4, 100)
    codes = kmeans(Vectors(points), 4, seed=0).codes
    first, again = (silhouette(Vectors(points), codes, sample_size=90) for _ in range(2))
    assert first == again
    assert first == pytest.approx(silhouette(Vectors(points), codes), abs=0.05)
    rows = np.sort(np.random.default_rng(42).permutation(400)[:90])
    assert first == pytest.approx(exact_silhouette(points[rows], codes[rows]), rel=1e-4)


def test_a_cluster_for_every_row_has_no_silhouette():
    points = np.arange(5.0)[:, None]
    assert silhouette(Vectors(points), np.arange(5)) == 0


# The elbow ---------------------------------------------------------------------------------------


def test_elbow_by_hand():
    """Over log2: 2, 3, 4, 5 against 100, 20, 10, 0; the chord is at 66.7 where the curve is at 20."""
    assert elbow([4, 8, 16, 32], [100, 20, 10, 0]) == 8


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=8))
def test_elbow_is_the_point_farthest_from_the_chord(drops):
    counts = [2 << power for power in range(len(drops))]
    inertias = np.sort(drops)[::-1].tolist()
    start, stop = np.array([np.log(counts[0]), inertias[0]]), [np.log(counts[-1]), inertias[-1]]
    along = (stop - start) / np.linalg.norm(stop - start)
    distances = []
    for count, inertia in zip(counts, inertias, strict=True):
        apart = np.array([np.log(count), inertia]) - start
        distances.append(along[1] * apart[0] - along[0] * apart[1])  # positive below the chord
    assert distances[counts.index(elbow(counts, inertias))] == pytest.approx(
        max(distances), abs=1e-6 * (1 + inertias[0])
    )


@pytest.mark.parametrize(("counts", "inertias"), [([8], [1.0]), ([8, 16], [9.0, 1.0])])
def test_fewer_than_three_counts_have_no_elbow(counts, inertias):
    assert elbow(counts, inertias) == 8


def test_a_straight_line_bends_nowhere():
    assert elbow([2, 4, 8], [5.0, 5.0, 5.0]) == 2


# The choice --------------------------------------------------------------------------------------


@given(st.integers(1, 500_000))
def test_grid_is_powers_of_two_that_fit_the_pool(n):
    grid = count_grid(n)
    assert all(one * 2 == other for one, other in pairwise(grid))
    assert grid[-1] <= min(n, 8192)
    assert n < 40 or n / grid[-1] >= 20
    assert n < 1_000 or grid[0] <= 64 <= 2 * grid[-1]


@pytest.mark.parametrize("judge", ["simplified", "exact", "elbow"])
def test_every_judge_finds_eight_blobs(judge):
    points = blobs(8, 100)
    found = {k: kmeans(Vectors(points), k, seed=5) for k in range(2, 33)}
    if judge == "elbow":
        inertias = [float(one.distances.sum()) for one in found.values()]
        assert elbow(list(found), inertias) == 8
        return
    score = {
        "simplified": lambda one: simplified_silhouette(Vectors(points), one),
        "exact": lambda one: silhouette(Vectors(points), one.codes),
    }[judge]
    values = {k: score(one) for k, one in found.items()}
    assert max(values, key=values.get) == 8


@pytest.mark.parametrize("judge", ["auto", "silhouette", "elbow"])
def test_chosen_clusters_are_those_of_k_means_at_the_chosen_count(judge):
    points = blobs(8, 100)
    assert count_grid(800) == (4, 8, 16, 32)
    found = choose_clusters(Vectors(points), judge, **SETTINGS)
    alone = kmeans(Vectors(points), 8, **SETTINGS)
    assert found.codes.tobytes() == alone.codes.tobytes()
    assert found.centroids.tobytes() == alone.centroids.tobytes()


@pytest.mark.parametrize("n", [1, 2, 3, 39])
def test_small_pools_have_one_count_to_try(n):
    points = blobs(1, n)
    found = choose_clusters(Vectors(points), "auto", **SETTINGS)
    assert len(found.centroids) == min(n, 2)


def test_all_equal_rows_share_a_cluster_and_the_smallest_count_wins():
    found = choose_clusters(Vectors(np.ones((200, 3))), "auto", **SETTINGS)
    assert len(set(found.codes.tolist())) == 1
    assert len(found.centroids) == count_grid(200)[0]
