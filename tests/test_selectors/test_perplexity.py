import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contracts import Budget, View
from curate.errors import BudgetError, ConfigError
from curate.registry import build, get_selector

Perplexity = get_selector("perplexity")


def pool(mean_logp: list[float], truncated: list[bool] | None = None) -> View:
    n = len(mean_logp)
    return View(
        np.array([f"{row:032x}" for row in range(n)], dtype="S32"),
        {
            "likelihood.mean_logp": np.array(mean_logp),
            "likelihood.truncated": np.array(truncated or [False] * n),
        },
    )


def picks(which: str, view: View, k: int) -> list[int]:
    chosen = Perplexity(which).select(view, Budget(k), np.random.default_rng(0))
    return chosen.indices.tolist()


def test_low_and_high_are_the_ends():
    view = pool([-1.0, -3.0, -2.0, -0.5])
    assert picks("low", view, 2) == [3, 0]
    assert picks("high", view, 2) == [1, 2]


# Rows 0..n-1 have rising perplexity, so that rows are ranks.
@pytest.mark.parametrize(
    ("n", "k", "expected"),
    [
        (5, 1, [2]),
        (5, 2, [2, 1]),
        (5, 3, [2, 1, 3]),
        (5, 4, [2, 1, 3, 0]),
        (4, 1, [1]),
        (4, 2, [1, 2]),
        (4, 3, [1, 2, 0]),
        (1, 1, [0]),
    ],
)
def test_mid_is_centred_on_the_median_rank_for_odd_and_even(n, k, expected):
    assert picks("mid", pool([-float(rank) for rank in range(n)]), k) == expected


@given(st.lists(st.sampled_from([-1.0, -2.0, -2.5, -7.0]), min_size=1, max_size=12), st.data())
def test_mid_takes_consecutive_ranks_around_the_median(mean_logp, data):
    n, k = len(mean_logp), data.draw(st.integers(1, len(mean_logp)))
    by_perplexity = sorted(range(n), key=lambda row: (-mean_logp[row], row))
    ranks = sorted(by_perplexity.index(row) for row in picks("mid", pool(mean_logp), k))
    assert ranks == list(range(ranks[0], ranks[0] + k))
    assert abs((ranks[0] + ranks[-1]) - (n - 1)) <= 1


@given(st.lists(st.sampled_from([-1.0, -2.0, -2.5]), min_size=1, max_size=12), st.data())
def test_low_and_high_agree_with_sorting(mean_logp, data):
    n, k = len(mean_logp), data.draw(st.integers(1, len(mean_logp)))
    low = sorted(range(n), key=lambda row: (-mean_logp[row], row))[:k]
    high = sorted(range(n), key=lambda row: (mean_logp[row], row))[:k]
    assert (picks("low", pool(mean_logp), k), picks("high", pool(mean_logp), k)) == (low, high)


def test_gains_are_perplexities_as_on_paper():
    """Three tokens of probability 1/2 have perplexity 2, of probability 1/4 perplexity 4."""
    view = pool([math.log(1 / 2), math.log(1 / 4)])
    chosen = Perplexity("high").select(view, Budget(2), np.random.default_rng(0))
    assert chosen.gains == pytest.approx([4, 2], rel=1e-15)
    assert chosen.reasons == ["high perplexity (4)", "high perplexity (2)"]


def test_nan_and_infinite_scores_are_excluded_and_counted():
    view = pool([-1.0, math.nan, -2.0, -math.inf])
    chosen = Perplexity("mid").select(view, Budget(2), np.random.default_rng(0))
    assert sorted(chosen.indices.tolist()) == [0, 2]
    assert chosen.excluded == {"perplexity is not finite": 2}
    with pytest.raises(BudgetError, match="only 2 are eligible .*excluded: 2 perplexity is not f"):
        picks("mid", view, 3)


def test_truncated_picks_are_reported():
    view = pool([-1.0, -2.0, -3.0], [True, False, True])
    chosen = Perplexity("low").select(view, Budget(2), np.random.default_rng(0))
    assert chosen.warnings == (
        "1 of 2 picks are truncated: their perplexity does not cover the end of the response",
    )
    assert (
        Perplexity("low").select(pool([-1.0]), Budget(1), np.random.default_rng(0)).warnings == ()
    )


def test_unknown_end_names_the_choices():
    with pytest.raises(ConfigError, match="perplexity.which='middle' is not one of low, mid, high"):
        build(Perplexity, {"which": "middle"})
