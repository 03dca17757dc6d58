"""Vectors in two dimensions."""

import numpy as np
import pytest
from reported import colour_rows, score, write_rows

import curate as cu
from curate.store.query import projection


def scored(tmp_path, vector):
    pool = cu.open(tmp_path / "curate.duckdb")
    pool.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    return pool, score(pool, "embedding", {"vector": ("vector", vector)})


def test_axes_are_those_of_scikit_learn(tmp_path):
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    made = {row["id"]: rng.normal(size=5) * [5, 3, 1, 1, 1] for row in colour_rows()}
    pool, set_id = scored(tmp_path, lambda name: made[name].tolist())
    points, ids = pool.store.projected(set_id, "vector")
    names = pool.store.query("select id, external_id from rows order by id").to_pylist()
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
