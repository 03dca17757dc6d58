import math

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.prove.statistics import (
    BETTER,
    NO_DIFFERENCE,
    TOO_FEW_SEEDS,
    WORSE,
    compare,
    estimate,
    holm,
    holm_levels,
)


def test_error_of_a_difference_by_hand():
    # seeds: means 1, 2, 3, variance 1, over 3 seeds 1/3; examples: means 1 and 3 about 2, variance 2, over 2 is 1
    numerators = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0]])
    found = estimate(numerators, np.ones(2))
    assert found.mean == 2.0
    assert found.error == pytest.approx(math.sqrt(1 / 3 + 1))
    assert found.seed_share == pytest.approx((1 / 3) / (4 / 3))
    assert found.interval().over == "seeds and examples"


def test_error_over_examples_is_that_of_a_ratio():
    # delta method of sum(x) / sum(w): n / (n - 1) sum((x - r w)^2) / sum(w)^2
    rng = np.random.default_rng(3)
    weights = rng.integers(1, 60, size=500).astype(float)
    nll = 2.5 * weights + rng.normal(size=500) * weights
    found = estimate(nll[None], weights)
    ratio = nll.sum() / weights.sum()
    by_hand = 500 / 499 * np.square(nll - ratio * weights).sum() / weights.sum() ** 2
    assert found.error == pytest.approx(math.sqrt(by_hand))
    draws = rng.integers(0, 500, size=(4000, 500))
    resampled = nll[draws].sum(axis=1) / weights[draws].sum(axis=1)
    assert found.error == pytest.approx(resampled.std(), rel=0.05)
    assert found.interval().over == "examples"


def test_with_seeds_alone_it_is_the_t_test_of_scipy():
    from scipy import stats

    by_seed = np.array([0.3, -0.1, 0.5, 0.2, 0.4])
    found = estimate(np.repeat(by_seed[:, None], 50, axis=1), np.ones(50))
    assert found.p_value() == pytest.approx(stats.ttest_1samp(by_seed, 0.0).pvalue, rel=1e-9)
    half = stats.t.ppf(0.975, 4) * by_seed.std(ddof=1) / math.sqrt(5)
    assert found.interval().high == pytest.approx(by_seed.mean() + half, rel=1e-6)


def test_with_examples_alone_it_is_the_t_test_over_examples():
    from scipy import stats

    by_example = np.random.default_rng(1).normal(0.1, 1.0, size=40)
    found = estimate(np.repeat(by_example[None], 6, axis=0), np.ones(40))
    assert found.p_value() == pytest.approx(stats.ttest_1samp(by_example, 0.0).pvalue, rel=1e-9)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_interval_ends_where_the_p_value_is_one_minus_the_level(level):
    rng = np.random.default_rng(5)
    numerators = rng.normal(size=(5, 1)) + rng.normal(size=(5, 30))
    found = estimate(numerators, np.ones(30))
    low = found.interval(level).low
    assert estimate(numerators - low, np.ones(30)).p_value() == pytest.approx(1 - level, rel=1e-6)


def test_equal_differences_leave_no_doubt():
    assert estimate(np.zeros((5, 4)), np.ones(4)).p_value() == 1.0
    same = estimate(np.full((5, 4), 0.25), np.ones(4))
    assert same.p_value() == 0.0 and same.interval().width == 0.0


def test_holm_by_hand():
    # sorted: .005, .01, .03, .04; times 4, 3, 2, 1 and never less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    "p_values",
    [[0.001, 0.02, 0.03, 0.6], [0.04, 0.04], [0.01, 0.02, 0.9], [0.3], [0.012, 0.013, 0.014, 0.5]],
)
def test_intervals_agree_with_holm(p_values):
    for p, adjusted, level in zip(p_values, holm(p_values), holm_levels(p_values), strict=True):
        assert (adjusted < 0.05) == (p < 1 - level + 1e-15)


def arms(shift: float, seeds: int = 5, n: int = 300, noise: float = 0.02) -> dict:
    rng = np.random.default_rng(7)
    example = rng.gamma(2.0, 1.0, size=n)
    return {
        "random": example + noise * rng.normal(size=(seeds, 1)),
        "method": example + shift + noise * rng.normal(size=(seeds, 1)) + 0.05 * rng.normal(size=n),
    }


@pytest.mark.parametrize(
    ("shift", "lower", "verdict"),
    [(-1, True, BETTER), (-1, False, WORSE), (1, True, WORSE), (1, False, BETTER),
     (0, True, NO_DIFFERENCE)],
)  # fmt: skip
def test_verdicts_follow_the_direction(shift, lower, verdict):
    found = compare(arms(shift), np.ones(300), baseline="random", lower_is_better=lower)
    assert found["method"].verdict == verdict
    assert found["random"].verdict == "" and found["random"].delta is None
    assert found["method"].delta == pytest.approx(
        found["method"].mean - found["random"].mean, abs=1e-12
    )


def test_fewer_than_five_seeds_are_too_few_whatever_the_difference():
    for seeds in (1, 2, 4):
        found = compare(arms(-1, seeds), np.ones(300), baseline="random", lower_is_better=True)
        assert found["method"].verdict == TOO_FEW_SEEDS
        assert found["method"].delta_interval.high < 0


def test_the_difference_of_each_seed_is_paired():
    base = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]) * np.ones((5, 40))
    found = compare(
        {"random": base, "method": base - 0.1}, np.ones(40), baseline="random",
        lower_is_better=True,
    )["method"]  # fmt: skip
    assert found.delta == pytest.approx(-0.1)
    assert found.delta_interval.width == pytest.approx(0.0, abs=1e-12)
    assert found.spread == pytest.approx(math.sqrt(2.5))


def test_noise_over_examples_can_hide_what_seeds_agree_on():
    # every seed says -0.1, but that is one example out of twenty
    base = np.ones((5, 20))
    method = base.copy()
    method[:, 0] -= 2.0
    found = compare(
        {"random": base, "method": method}, np.ones(20), baseline="random", lower_is_better=True,
    )["method"]  # fmt: skip
    assert found.delta_interval.over == "seeds and examples"
    assert found.verdict == NO_DIFFERENCE


def test_correction_grows_with_the_methods_compared():
    both = arms(-0.06)
    settings = {"baseline": "random", "lower_is_better": True}
    alone = compare(both, np.ones(300), **settings)["method"]
    others = {f"other{i}": both["random"] for i in range(9)}
    among = compare({**both, **others}, np.ones(300), **settings)["method"]
    assert among.p == alone.p == alone.p_holm
    assert alone.delta_interval.level == 0.95
    assert among.delta_interval.level == pytest.approx(0.995)
    assert among.p_holm == pytest.approx(10 * alone.p)


def test_arms_of_different_shapes_are_refused():
    with pytest.raises(ConfigError, match="need the same seeds and examples"):
        compare(
            {"random": np.ones((2, 3)), "a": np.ones((1, 3))}, np.ones(3), baseline="random",
            lower_is_better=True,
        )  # fmt: skip
    with pytest.raises(ConfigError, match="2 weights do not fit"):
        compare({"random": np.ones((2, 3))}, np.ones(2), baseline="random", lower_is_better=True)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(11)
    covered, false = 0, 0
    runs = 200
    for _ in range(runs):
        n, seeds = 60, 5
        shared = rng.normal(size=n)
        seeds_random = 0.05 * rng.normal(size=(seeds, 1))
        seeds_method = 0.05 * rng.normal(size=(seeds, 1))
        found = compare(
            {
                "random": shared + seeds_random,
                "method": shared + seeds_method + 0.05 * rng.normal(size=(seeds, n)),
            },
            np.ones(n), baseline="random", lower_is_better=True,
        )["method"]  # fmt: skip
        covered += found.delta_interval.low <= 0 <= found.delta_interval.high
        false += found.verdict in (BETTER, WORSE)
    assert covered / runs >= 0.92
    assert false / runs <= 0.08
