import sys

import numpy as np
import pytest

from curate.algorithms.kmeans import kmeans
from curate.contracts.view import Vectors
from curate.errors import ConfigError, MissingPackageError


def rows(n: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_planted_clusters_are_found():
    planted = np.repeat(np.arange(3), 20)
    points = 100.0 * planted[:, None] + rows(60)
    found = kmeans(Vectors(points), 3, seed=1)
    assert sorted(found.sizes.tolist()) == [20, 20, 20]
    assert all(len(set(found.codes[planted == one])) == 1 for one in range(3))


@pytest.mark.parametrize("limit", [4, 256])
def test_same_as_faiss_over_all_rows_also_when_it_draws_training_rows(limit):
    import faiss

    points = rows(300)
    bare = faiss.Kmeans(
        4, 7, niter=5, seed=11, min_points_per_centroid=1, max_points_per_centroid=limit
    )
    bare.train(points)
    distances, codes = bare.index.search(points, 1)
    found = kmeans(Vectors(points), 7, seed=11, niter=5, max_points_per_centroid=limit)
    assert np.array_equal(found.centroids, bare.centroids)
    assert np.array_equal(found.codes, codes[:, 0])
    assert np.array_equal(found.distances, distances[:, 0])


def test_rows_behind_an_index_are_read_in_its_order():
    points = rows(50)
    order = np.random.default_rng(1).permutation(50)
    straight = kmeans(Vectors(points[order]), 5, seed=2)
    indirect = kmeans(Vectors(points, order), 5, seed=2)
    assert np.array_equal(straight.codes, indirect.codes)


def test_fewer_rows_than_clusters_make_as_many_clusters_as_rows():
    found = kmeans(Vectors(rows(3)), 100, seed=0)
    assert found.centroids.shape == (3, 4)
    assert sorted(found.codes.tolist()) == [0, 1, 2]


def test_equal_rows_share_a_cluster():
    found = kmeans(Vectors(np.ones((40, 2), dtype=np.float32)), 5, seed=0)
    assert len(set(found.codes.tolist())) == 1


@pytest.mark.parametrize("setting", ["n_clusters", "niter", "max_points_per_centroid"])
def test_settings_below_one_are_refused(setting):
    settings = {"n_clusters": 2, "seed": 0, setting: 0}
    with pytest.raises(ConfigError, match=f"{setting} must be at least 1, got 0"):
        kmeans(Vectors(rows(9)), **settings)


def test_no_rows_are_refused():
    with pytest.raises(ConfigError, match="no vectors to cluster"):
        kmeans(Vectors(rows(0)), 2, seed=0)


def test_without_faiss_the_message_has_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'curate-sft\[cpu\]'"):
        kmeans(Vectors(rows(9)), 2, seed=0)
