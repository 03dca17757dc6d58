import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.algorithms.groups import places_in_group

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
