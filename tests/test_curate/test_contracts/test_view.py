import numpy as np
import pytest

from curate.contracts import Selection, Vectors, View
from curate.errors import MissingColumnError


def view_of(n: int, **more) -> View:
    return View(np.array([f"{row:032x}" for row in range(n)], dtype="S32"), **more)


def test_view_counts_the_pool_it_was_cut_from():
    view = view_of(3, tokens=np.array([1, 2, 3]), excluded={"where": 4})
    assert (len(view), view.n_pool, view.pool_tokens) == (3, 7, 6)


def test_scores_are_float64_and_columns_keep_their_type():
    view = view_of(2, columns={"a.flag": np.array([True, False]), "a.n": np.array([1, 2])})
    assert view.scores("a.n").dtype == np.float64
    assert view.column("a.flag").dtype == bool


def test_missing_column_names_its_neighbours_and_the_command():
    view = view_of(2, columns={"likelihood.mean_logp": np.zeros(2)})
    with pytest.raises(MissingColumnError) as caught:
        view.scores("likelihood.mean_log")
    assert str(caught.value) == (
        "column 'likelihood.mean_log' is not in the view (it has: likelihood.mean_logp); did you "
        "mean 'likelihood.mean_logp'; run the scorer that writes it: curate score --scorer likelihood"
    )


def test_without_groups_every_example_is_its_own():
    assert view_of(3).group_codes().tolist() == [0, 1, 2]


def test_vector_blocks_follow_the_view_not_the_file():
    array = np.arange(20.0, dtype=np.float32).reshape(10, 2)
    vectors = Vectors(array, rows=np.array([7, 0, 3]))
    assert (len(vectors), vectors.dim) == (3, 2)
    blocks = list(vectors.blocks(size=2))
    assert [start for start, _ in blocks] == [0, 2]
    assert np.concatenate([block for _, block in blocks])[:, 0].tolist() == [14.0, 0.0, 6.0]
    assert vectors.take(np.array([2])).tolist() == [[6.0, 7.0]]


def test_vector_blocks_are_copies_of_the_mapped_file(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((4, 2), dtype=np.float32))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    for _, block in Vectors(mapped).blocks(size=3):
        assert not isinstance(block, np.memmap) or block.base is None
        block[:] = 0
    assert mapped.sum() == 8


def test_selection_is_as_long_as_its_indices():
    assert len(Selection(np.array([3, 1]))) == 2
