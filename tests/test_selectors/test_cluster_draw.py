import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import Budget, BudgetError, ConfigError, View
from curate_selectors.cluster_draw import ClusterDraw


def view_of(clusters, **scores) -> View:
    columns = {"clusters.cluster": np.asarray(clusters, dtype=float), **scores}
    return View(np.char.zfill(np.arange(len(clusters)).astype("S4"), 4), columns)


def drawn(chosen, view) -> list[int]:
    return np.bincount(view.scores("clusters.cluster")[chosen.indices].astype(int)).tolist()


def test_counts_follow_the_weights_and_a_full_cluster_passes_the_rest_on():
    view = view_of([0] * 10 + [1] * 10 + [2] * 2)
    chosen = ClusterDraw(weights=(1.0, 2.0, 2.0)).select(view, Budget(10), np.random.default_rng(0))
    # shares 2, 4, 4: cluster 2 has only 2, and the other 8 are split 1 to 2
    assert drawn(chosen, view) == [3, 5, 2]


def test_without_weights_all_clusters_are_alike():
    view = view_of([0] * 30 + [1] * 6)
    chosen = ClusterDraw().select(view, Budget(8), np.random.default_rng(0))
    assert drawn(chosen, view) == [4, 4]


def test_weights_by_size_are_relative_to_a_proportional_draw():
    view = view_of([0] * 30 + [1] * 10)
    chosen = ClusterDraw(by_size=True).select(view, Budget(8), np.random.default_rng(0))
    assert drawn(chosen, view) == [6, 2]
    chosen = ClusterDraw(weights=(1.0, 3.0), by_size=True).select(
        view, Budget(8), np.random.default_rng(0)
    )
    assert drawn(chosen, view) == [4, 4]


def test_a_cluster_of_weight_zero_is_drawn_from_last():
    view = view_of([0] * 3 + [1] * 3)
    chosen = ClusterDraw(weights=(1.0,)).select(view, Budget(4), np.random.default_rng(0))
    assert drawn(chosen, view) == [3, 1]


def test_a_quality_decides_inside_a_cluster():
    view = view_of([0] * 6, quality=np.array([0, 0, 500, 0, 500, 0.0]))
    chosen = ClusterDraw(prob="softmax").select(view, Budget(2), np.random.default_rng(0))
    assert sorted(chosen.indices) == [2, 4]
    assert chosen.gains.tolist() == [500, 500]


def test_examples_without_cluster_or_quality_are_left_out_and_counted():
    view = view_of([0, np.nan, 0, 0], quality=np.array([1, 1, np.nan, 1]))
    chosen = ClusterDraw(prob="softmax").select(view, Budget(2), np.random.default_rng(0))
    assert sorted(chosen.indices) == [0, 3]
    assert chosen.excluded == {"no cluster": 1, "quality is not finite": 1}
    with pytest.raises(BudgetError, match="2 are eligible"):
        ClusterDraw(prob="softmax").select(view, Budget(3), np.random.default_rng(0))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.lists(st.floats(0, 1e6), max_size=6),
    st.data(),
)
def test_exactly_the_budget_and_none_twice(clusters, weights, data):
    view = view_of(clusters)
    size = data.draw(st.integers(1, len(clusters)))
    picks = ClusterDraw(weights=tuple(weights)).select(view, Budget(size), np.random.default_rng(1))
    assert len(set(picks.indices.tolist())) == size


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match="weights must be 0 or more, got -1.0"):
        ClusterDraw(weights=(1.0, -1.0))
    with pytest.raises(ConfigError, match="temperature must be positive, got 0.0"):
        ClusterDraw(temperature=0.0)
    with pytest.raises(BudgetError, match="needs a budget"):
        ClusterDraw().select(view_of([0]), None, np.random.default_rng(0))
