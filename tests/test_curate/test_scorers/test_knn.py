import numpy as np
import pytest

from curate.contracts import Vectors, View
from curate.errors import ConfigError
from curate.scorers.knn import KNN, neighbour_distance


def brute(points, i):
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, i - 1]


@pytest.mark.parametrize("i", [1, 3, 6])
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_distances_are_those_of_brute_force(i, block):
    points = np.random.default_rng(0).normal(size=(100, 5)).astype(np.float32)
    found = neighbour_distance(Vectors(points), i, block=block)
    np.testing.assert_allclose(found, brute(points.astype(np.float64), i), rtol=1e-9)


def test_duplicates_are_neighbours_at_distance_zero():
    points = np.array([[1.0, 2.0]] * 3 + [[4.0, 6.0]])
    assert neighbour_distance(Vectors(points), 2).tolist() == [0.0, 0.0, 0.0, 5.0]


def test_cosine_is_one_minus_the_cosine():
    points = np.random.default_rng(1).normal(size=(30, 4))
    view = View(np.arange(30), vectors_by_column={"embedding.vector": Vectors(points)})
    found = KNN(i=2, metric="cosine").run(view, "cpu")["distance"]
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    wanted = 1 - np.sort(unit @ unit.T - 3 * np.eye(30), axis=1)[:, -2]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_a_small_pool_has_no_such_neighbour():
    assert np.isnan(neighbour_distance(Vectors(np.eye(3)), 3)).all()


def test_neighbours_count_from_one():
    with pytest.raises(ConfigError, match="counts neighbours from 1, got 0; try 6"):
        KNN(i=0)
