"""Forced picks and quotas work with any ranking method, and the prefix rule still holds."""

import numpy as np
import pytest

from curate.contracts import View
from curate.contracts.budget import Budget
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_selector
from curate.select.choose import FORCED_REASON, choose
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
