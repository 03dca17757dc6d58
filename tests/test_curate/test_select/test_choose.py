"""Forced picks and quotas work with any ranking method, and the prefix rule still holds."""

from typing import Any

import numpy as np
import pytest

from curate.contracts import Selector, View
from curate.contracts.budget import Budget
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_selector
from curate.select.choose import FORCED_REASON, choose
from curate.select.inline import named
from curate.select.shares import Shares


def view_of(values: list[float], sources: list[int] | None = None) -> View:
    n = len(values)
    return View(
        np.array([f"{i:02d}".encode() for i in range(n)], dtype="S32"),
        {"rank": np.array(values)},
        sources=None if sources is None else np.array(sources),
        source_names=("news", "wiki"),
    )


def top_k():
    return build(get_selector("top-k"), {"rank": "quality.score"})


def test_without_extras_the_selector_answers_itself() -> None:
    chosen = choose(top_k(), view_of([1.0, 3.0, 2.0]), Budget(2), seed=0)
    assert chosen.indices.tolist() == [1, 2]


def test_forced_picks_come_first_and_count_towards_the_budget() -> None:
    chosen = choose(top_k(), view_of([1.0, 3.0, 2.0, 0.0]), Budget(3), 0, include=["03"])
    assert chosen.indices.tolist() == [3, 1, 2]
    assert chosen.reasons is not None
    assert chosen.reasons[0] == FORCED_REASON
    assert chosen.reasons[1].startswith("quality.score = 3")
    assert chosen.gains is not None
    assert chosen.gains.tolist() == [0.0, 3.0, 2.0]


def test_a_forced_pick_the_method_excludes_has_no_gain() -> None:
    chosen = choose(top_k(), view_of([1.0, np.nan, 2.0]), Budget(2), 0, include=["01"])
    assert chosen.indices.tolist() == [1, 2]
    assert chosen.gains is not None
    assert np.isnan(chosen.gains[0])


def test_an_ineligible_forced_pick_is_named() -> None:
    with pytest.raises(ConfigError, match=r"1 of 2 examples are not eligible here \(first: 77\)"):
        choose(top_k(), view_of([1.0, 2.0]), Budget(1), 0, include=["00", "77"])


def test_quotas_cap_a_source_and_the_next_best_follow() -> None:
    view = view_of([5.0, 4.0, 3.0, 2.0, 1.0], sources=[0, 0, 0, 1, 1])
    chosen = choose(top_k(), view, Budget(4), 0, shares=Shares({"news": "2"}, {}))
    assert chosen.indices.tolist() == [0, 1, 3, 4]


def test_a_star_is_every_other_source_and_shares_are_of_the_selection() -> None:
    view = view_of([5.0, 4.0, 3.0, 2.0, 1.0], sources=[0, 0, 0, 1, 1])
    chosen = choose(top_k(), view, Budget(3), 0, shares=Shares({"wiki": "40%", "*": "2"}, {}))
    assert chosen.indices.tolist() == [0, 1, 3], "40% of 3 is one, where of the pool it was two"


def test_a_quota_that_leaves_too_little_is_a_budget_error() -> None:
    view = view_of([5.0, 4.0, 3.0, 2.0], sources=[0, 0, 0, 1])
    with pytest.raises(
        BudgetError, match="leaves too few for it; the largest that works is --budget 2"
    ):
        choose(top_k(), view, Budget(3), 0, shares=Shares({"news": "1"}, {}))


def test_an_unknown_source_is_named_with_the_known_ones() -> None:
    view = view_of([5.0, 4.0], sources=[0, 1])
    with pytest.raises(
        ConfigError, match="names an unknown source 'webb'; sources here: news, wiki"
    ):
        choose(top_k(), view, Budget(1), 0, shares=Shares({"webb": "1"}, {}))


def test_a_method_without_a_natural_size_needs_a_budget() -> None:
    random = build(get_selector("random"), {})
    with pytest.raises(ConfigError, match="'random' needs a budget; add --budget 10%"):
        choose(random, view_of([1.0]), None, 0)


def clusters_of(sizes: list[int], sources: list[int] | None = None) -> View:
    codes = np.repeat(np.arange(len(sizes)), sizes)
    n = len(codes)
    return View(
        np.array([f"{i:04d}".encode() for i in range(n)], dtype="S32"),
        {"clusters.cluster": codes},
        sources=None if sources is None else np.array(sources),
        source_names=("news", "wiki"),
        tokens=np.full(n, 10),
    )


def cluster_draw(**fields: Any) -> Selector:
    return build(get_selector("cluster-draw"), fields)


@pytest.mark.parametrize("budget", ["12", "120tok"])
def test_a_forced_pick_does_not_shut_small_clusters_out(budget: str) -> None:
    """A third of the examples are in three large clusters, and so is a third of a draw."""
    view, method = clusters_of([40] * 3 + [2] * 120), cluster_draw(by_size=True)
    large = 0
    for seed in range(20):
        chosen = choose(method, view, Budget.parse(budget), seed, include=["0359"])
        assert (len(chosen), chosen.indices[0]) == (12, 359)
        large += int((chosen.indices[1:] < 120).sum())
    assert 0.2 < large / (20 * 11) < 0.45


def test_weights_of_clusters_hold_beside_forced_picks_and_quotas() -> None:
    view = clusters_of([50, 50], [i % 2 for i in range(100)])
    method = cluster_draw(weights=(1.0, 3.0))
    chosen = choose(method, view, Budget(21), 0, include=["0000"])
    assert np.bincount(chosen.indices[1:] // 50).tolist() == [5, 15]
    chosen = choose(method, view, Budget(20), 0, shares=Shares({"news": "20%"}, {}))
    assert (len(chosen), int((chosen.indices % 2 == 0).sum())) == (20, 4)
    assert np.bincount(chosen.indices // 50)[1] >= 13
    chosen = choose(method, view, Budget(20), 0, shares=Shares({}, {"news": "80%", "wiki": "20%"}))
    assert (len(chosen), int((chosen.indices % 2 == 0).sum())) == (20, 16)
    with pytest.raises(BudgetError, match="the largest that works is --budget 62$"):
        choose(method, view, Budget(90), 0, shares=Shares({"news": "20%"}, {}))


def test_a_function_that_returns_part_of_the_pool_has_quotas_too(unregistered: None) -> None:
    def odd(view: View, budget: Budget | None, rng: np.random.Generator) -> Any:
        return np.arange(1, len(view), 2)

    view = view_of([0.0] * 40, sources=[0] * 20 + [1] * 20)
    method = build(get_selector(named(odd)[0]), {})
    chosen = choose(method, view, Budget(6), 0, shares=Shares({"news": "50%"}, {}))
    assert chosen.indices.tolist() == [1, 3, 5, 21, 23, 25]


def test_warnings_are_of_what_was_asked_for_and_not_of_the_whole_ranking() -> None:
    columns = {
        "near_duplicate.is_copy": np.array([False, True, False, True, False, False]),
        "near_duplicate.cluster": np.array([0, 0, 1, 1, 2, 3]),
        "near_duplicate.similarity": np.array([1, 0.9, 1, 0.9, 1, 1]),
    }
    view = View(
        np.array([f"{i:02d}".encode() for i in range(6)], dtype="S32"), columns,
        sources=np.array([0, 0, 1, 1, 1, 1]), source_names=("news", "wiki"),
    )  # fmt: skip
    dedup = build(get_selector("dedup"), {})
    assert choose(dedup, view, Budget(3), 0, include=["01"]).warnings == ()
    chosen = choose(dedup, view, Budget(5), 0, shares=Shares({"news": "1"}, {}))
    [warning] = chosen.warnings
    assert warning.startswith("6 examples were asked for and only 4 are distinct")
