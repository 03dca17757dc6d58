import pytest

from curate.algorithms.overlap import jaccard, jaccard_matrix


def test_overlap_of_nothing_is_whole():
    assert jaccard([], []) == 1.0
    assert jaccard(["a"], ["b"]) == 0.0


def test_overlap_is_shared_over_all():
    assert jaccard_matrix([["a", "b"], ["b", "c"], []]) == [
        [1, pytest.approx(1 / 3), 0], [pytest.approx(1 / 3), 1, 0], [0, 0, 1],
    ]  # fmt: skip
