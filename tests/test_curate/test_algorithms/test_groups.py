import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.algorithms.groups import first_in_order, places_in_group, sort_within

ROWS = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.5]), st.integers(-3, 3)), max_size=12)


@given(ROWS)
def test_places_agree_with_sorting_each_group(rows):
    keys = np.array([key for key, _ in rows], dtype=np.float64)
    groups = np.array([group for _, group in rows], dtype=np.int64)
    by_group, places, sizes = places_in_group(keys, groups)
    order = sorted(range(len(rows)), key=lambda row: (groups[row], keys[row], row))
    assert by_group.tolist() == order
    for row in range(len(rows)):
        mates = [other for other in order if groups[other] == groups[row]]
        assert places[row] == mates.index(row) + 1
        assert sizes[row] == len(mates)


@pytest.mark.parametrize("lowest", [-1, 0, 2**40])
def test_sorting_within_groups_is_lexsort(lowest: int) -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 20, 500) / 4.0  # with ties
    groups = lowest + rng.integers(0, 30, 500)
    assert np.array_equal(sort_within(keys, groups), np.lexsort((keys, groups)))


def test_codes_too_far_apart_for_one_number_are_sorted_all_the_same() -> None:
    keys, groups = np.array([2.0, 1.0, 0.0]), np.array([2**62, -(2**62), 2**62])
    assert sort_within(keys, groups).tolist() == [1, 2, 0]
    assert len(sort_within(np.empty(0), np.empty(0, dtype=np.int64))) == 0


@pytest.mark.parametrize("k", [0, 1, 7, 499, 500, 501])
def test_the_first_in_order_are_those_of_a_stable_sort(k: int) -> None:
    keys = np.random.default_rng(1).integers(0, 20, 500) / 4.0
    assert np.array_equal(first_in_order(keys, k), np.argsort(keys, kind="stable")[:k])
