import json

import numpy as np
import pytest

import curate as cu
from curate.algorithms import nearest_kept as module
from curate.algorithms.nearest_kept import nearest_kept
from curate.contracts import Vectors, View
from curate.errors import ConfigError, MissingColumnError
from curate.scorers.semantic_duplicate import SemanticDuplicate


def run(points, threshold=0.9):
    points = np.asarray(points, dtype=np.float32)
    ids = np.array([f"{row:04d}".encode() for row in range(len(points))])
    view = View(ids, vectors_by_column={"embedding.vector": Vectors(points)})
    return SemanticDuplicate(threshold).run(view, "cpu")


def slow(points, threshold):
    """Keep rows one by one; give every other the nearest of all that are kept."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    kept = []
    for row in range(len(unit)):
        if all(unit[row] @ unit[other] <= threshold for other in kept):
            kept.append(row)
    return [
        row if row in kept else kept[int(np.argmax([unit[row] @ unit[k] for k in kept]))]
        for row in range(len(unit))
    ]


@pytest.mark.parametrize("threshold", [0.3, 0.8, 0.95])
def test_equal_to_going_through_the_rows_one_by_one(threshold, monkeypatch):
    monkeypatch.setattr("curate.algorithms.cosine.BLOCK_ROWS", 16)
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 5))[rng.integers(0, 12, 90)] + 0.3 * rng.normal(size=(90, 5))
    found = run(points, threshold)
    expected = slow(points.astype(np.float32).astype(np.float64), threshold)
    assert [int(one) for one in found["representative"]] == expected
    assert found["is_copy"].tolist() == [row != of for row, of in enumerate(expected)]
    copies = found["is_copy"]
    assert (found["similarity"][copies] > threshold).all()
    assert (found["similarity"][~copies] == 1).all()


def test_clusters_have_a_number_and_a_size():
    found = run([[1, 0], [0, 1], [2, 0.1], [0, 0], [np.nan, 1], [5, 0]])
    assert found["representative"].tolist() == ["0000", "0001", "0000", "0003", "0004", "0000"]
    assert found["size"].tolist() == [3, 1, 3, 1, 1, 3]
    assert len({*found["cluster"][[0, 2, 5]].tolist()}) == 1
    assert np.isnan(found["similarity"]).tolist() == [False, False, False, True, True, False]


def test_equal_vectors_are_copies_of_the_first():
    found = run(np.ones((9_000, 3)))
    assert set(found["representative"]) == {"0000"}
    assert found["similarity"].min() == pytest.approx(1)


def test_of_equally_near_ones_the_first_is_named():
    points = Vectors(np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]]))
    assert nearest_kept(points, np.array([2]), np.array([1, 0]))[0].tolist() == [1]


def test_a_threshold_that_is_no_cosine_is_refused():
    with pytest.raises(ConfigError, match="threshold=95 is a cosine, between -1 and 1; try 0.95"):
        SemanticDuplicate(95)


def test_says_which_score_comes_first(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Say.", "response": "Red."}) + "\n")
    pool = cu.open(tmp_path / "pool.duckdb", create=True)
    pool.ingest(str(path))
    with pytest.raises(
        MissingColumnError, match="compute it first: curate score --scorer embedding"
    ):
        pool.score("semantic_duplicate")
