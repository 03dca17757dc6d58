import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, View
from curate.registry import get_selector

Longest = get_selector("longest")


def chosen(lengths: list[int], budget: int):
    ids = np.array([f"{row:032x}" for row in range(len(lengths))], dtype="S32")
    view = View(ids, {"length.response_tokens": np.array(lengths)})
    return Longest().select(view, Budget(budget), np.random.default_rng(0))


def test_hand_counted_lengths_longest_first_ties_by_id_empty_last():
    everything = chosen([5, 0, 9, 5, 7], 5)
    assert everything.indices.tolist() == [2, 4, 0, 3, 1]
    assert everything.gains.tolist() == [9, 7, 5, 5, 0]
    assert everything.reasons[0] == "response of 9 tokens"


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.data())
def test_agrees_with_sorting(lengths, data):
    k = data.draw(st.integers(1, len(lengths)))
    expected = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))[:k]
    assert chosen(lengths, k).indices.tolist() == expected
