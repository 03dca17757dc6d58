"""The page of what is selected towards a target set, from numbers written down."""

import argparse

import numpy as np
import polars as pl

from jobs.compare.target_share import ARMS, drawn, interval, report, target_sets


def test_the_page_compares_each_arm_with_random_and_with_the_most_there_is():
    arms = {arm: [0.1, 0.3] for arm in ARMS}
    found = {"naming": {**arms, "bm25": [0.5, 0.7]}, "all": arms}
    options = argparse.Namespace(budget="60", size=50, seeds=2)
    text = report(found, {"naming": (30, 200), "all": (120, 200)}, options)
    assert "| naming | 15.0 | 50 | 20.0 (10 to 30) |" in text
    assert "| all | 60.0 | 100 | 20.0 (10 to 30) |" in text
    assert (
        "- bm25: above random for 1 of 1 categories, by +40.0 points on average (+40.0 to +40.0)."
        in text
    )
    assert "- dsir: above random for 0 of 1 categories, by +0.0 points on average" in text


def test_the_interval_is_over_categories_and_seeds():
    low, high = interval([np.array([0.1, 0.1]), np.array([0.3, 0.3])])
    assert (low, high) == (0.1, 0.3)
    low, high = interval([np.array([value]) for value in np.linspace(0, 1, 101)])
    assert abs(low - (0.5 - 1.96 * 0.2915 / 101**0.5)) < 0.005
    assert abs(high - (0.5 + 1.96 * 0.2915 / 101**0.5)) < 0.005


def test_a_target_is_each_category_with_enough_examples_and_all_of_them():
    rows = pl.DataFrame({"category": ["A B."] * 3 + ["C"] * 2 + ["D"]})
    assert target_sets(rows, 2) == {"a-b": {"A B."}, "c": {"C"}, "all": {"A B.", "C"}}


def test_short_rows_are_drawn_once_each(tmp_path):
    rows = {"prompt": ["a", "a", "b" * 600, "c"], "response": ["x", "x", "y", "z"]}
    pl.DataFrame({**rows, "category": ["k"] * 4}).write_parquet(tmp_path / "rows.parquet")
    assert drawn(tmp_path / "rows.parquet", None)["prompt"].to_list() == ["a", "c"]
    assert len(drawn(tmp_path / "rows.parquet", 1)) == 1
