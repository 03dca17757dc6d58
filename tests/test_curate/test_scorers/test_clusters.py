import numpy as np
import polars as pl
import pytest

import curate as cu
from curate.contracts import Vectors, View
from curate.errors import ConfigError
from curate.scorers.clusters import ClustersOf


def view_of(points) -> View:
    points = np.asarray(points, dtype=np.float32)
    return View(
        np.arange(len(points)).astype("S4"), vectors_by_column={"embedding.vector": Vectors(points)}
    )


def test_two_heaps_are_two_clusters_and_distances_are_to_their_means():
    found = ClustersOf(k=2).run(view_of([[1, 0], [1, 2], [9, 9], [9, 11]]), "cpu")
    assert found["cluster"][0] == found["cluster"][1] != found["cluster"][2] == found["cluster"][3]
    np.testing.assert_allclose(found["distance"], 1.0, rtol=1e-6)


def test_a_vector_of_no_use_has_no_cluster_and_moves_no_other():
    clean = [[1, 0], [1, 2], [9, 9], [9, 11]]
    found = ClustersOf(k=2).run(view_of([*clean, [np.nan, 1], [0, 0]]), "cpu")
    assert np.isnan(found["cluster"][4:]).all()
    assert np.isnan(found["distance"][4:]).all()
    alone = ClustersOf(k=2).run(view_of(clean), "cpu")
    assert found["cluster"][:4].tolist() == alone["cluster"].tolist()


def test_more_clusters_than_examples_are_as_many_as_examples():
    found = ClustersOf(k=9).run(view_of([[1, 0], [5, 5], [9, 1]]), "cpu")
    assert sorted(found["cluster"]) == [0, 1, 2]


def test_clusters_count_from_one():
    with pytest.raises(ConfigError, match="clusters.k must be at least 1, got 0"):
        ClustersOf(k=0)


@pytest.mark.slow
def test_real_rows_fall_into_clusters(realdata, realmodel, tmp_path):
    rows = pl.read_parquet(realdata / "qa_context.parquet", columns=["prompt", "response"])
    rows.head(40).write_ndjson(tmp_path / "rows.jsonl")
    pool = cu.open(tmp_path / "curate.duckdb", create=True)
    pool.ingest(str(tmp_path / "rows.jsonl"))
    pool.score("embedding", model=str(realmodel), template="plain")
    pool.score("clusters", settings={"k": "4"})
    found = pool.sql("select clusters.cluster as c, clusters.distance as d from scores")
    assert set(found["c"]) == {0, 1, 2, 3} and (found["d"] >= 0).all()
