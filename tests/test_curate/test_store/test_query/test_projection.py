"""Vectors in two dimensions."""

import importlib.util
import sys
import types

import numpy as np
import pytest
from reported import colour_rows, score, write_rows

import curate as cu
from curate.store.query import projection


def scored(tmp_path, vector):
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    return pool, score(pool, "embedding", {"vector": ("vector", vector)})


def test_axes_are_those_of_scikit_learn(tmp_path):
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    made = {row["id"]: rng.normal(size=5) * [5, 3, 1, 1, 1] for row in colour_rows()}
    pool, set_id = scored(tmp_path, lambda name: made[name].tolist())
    points, ids = pool.store.projected(set_id, "vector")
    names = pool.store.read("select id, external_id from rows order by id").to_pylist()
    assert [row["id"].encode() for row in names] == ids.tolist()
    x = np.stack([made[row["external_id"]] for row in names])
    expected = PCA(2, svd_solver="full").fit_transform(x)
    assert np.abs(points) == pytest.approx(np.abs(expected), abs=1e-4)


def test_the_second_time_reads_a_file_that_gc_removes(tmp_path, monkeypatch):
    pool, set_id = scored(tmp_path, lambda name: [float(len(name)), 1.0])
    first, _ = pool.store.projected(set_id, "vector")

    def never(array):
        raise AssertionError("projected again")

    monkeypatch.setattr(projection, "_project", never)
    second, _ = pool.store.projected(set_id, "vector")
    assert (first == second).all()
    monkeypatch.undo()
    pool.store.gc()
    assert list((pool.store.parts / "cache").glob("*.npy")) == []
    assert (pool.store.projected(set_id, "vector")[0] == first).all()


@pytest.mark.parametrize("vector", [[1.0, 2.0], [3.0]])
def test_vectors_that_do_not_differ_lie_on_one_point(tmp_path, vector):
    pool, set_id = scored(tmp_path, lambda name: vector)
    points, _ = pool.store.projected(set_id, "vector")
    assert points.shape == (12, 2) and (points == 0).all()


class Layout:
    """Stands for umap-learn: the first two numbers of each vector, and a note of the calls."""

    calls: list[tuple[str, int]]

    def __init__(self, **settings):
        assert settings == {"n_components": 2, "random_state": 0, "n_jobs": 1}

    def fit_transform(self, x):
        Layout.calls.append(("fit", len(x)))
        return x[:, :2]

    def transform(self, x):
        Layout.calls.append(("place", len(x)))
        return x[:, :2]


def test_umap_lays_out_a_sample_and_places_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Layout))
    monkeypatch.setattr(projection, "UMAP_FITTED", 5)
    Layout.calls = []
    vectors = {row["id"]: [float(k), -float(k), 7.0] for k, row in enumerate(colour_rows())}
    pool, set_id = scored(tmp_path, vectors.__getitem__)
    points, _ = pool.store.projected(set_id, "vector", "umap")
    names = pool.store.read("select id, external_id from rows order by id").to_pylist()
    assert points.tolist() == [vectors[row["external_id"]][:2] for row in names]
    assert Layout.calls == [("fit", 5), ("place", 7)]
    pool.store.projected(set_id, "vector", "umap")
    assert len(Layout.calls) == 2
    assert (pool.store.projected(set_id, "vector")[0] != points).any()


def test_umap_is_taken_where_it_is_installed_and_there_is_enough(monkeypatch):
    folder = types.SimpleNamespace(origin=None)
    package = types.SimpleNamespace(origin="umap/__init__.py")
    for spec, layout in ((None, "pca"), (folder, "pca"), (package, "umap")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _, spec=spec: spec)
        assert projection.best_layout(1_000) == layout
        assert projection.best_layout(12) == "pca"
