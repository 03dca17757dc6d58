import math

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.prove.statistics import (
    BETTER,
    NO_DIFFERENCE,
    TOO_FEW_SEEDS,
    WORSE,
    Interval,
    bootstrap,
    bootstrap_p_value,
    compare,
    holm,
    jaccard,
    t_interval,
    t_p_value,
    t_quantile,
    t_within,
    wider,
)


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 5, 9, 10, 31])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 2.776, 12.0])
def test_student_agrees_with_scipy(t, dof):
    from scipy import stats

    assert t_within(t, dof) == pytest.approx(1 - 2 * stats.t.sf(t, dof), abs=1e-13)
    assert t_quantile(0.95, dof) == pytest.approx(stats.t.ppf(0.975, dof), rel=1e-10)


def test_interval_of_four_numbers_by_hand():
    # mean 2.5, s = sqrt(5/3), s / 2 = 0.645497, t(3) = 3.182446
    found = t_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.low == pytest.approx(2.5 - 3.182446 * 0.645497, abs=1e-5)
    assert found.high == pytest.approx(2.5 + 3.182446 * 0.645497, abs=1e-5)
    assert t_interval(np.array([1.0])) is None


def test_p_value_agrees_with_scipy():
    from scipy import stats

    values = np.array([0.3, -0.1, 0.5, 0.2, 0.4])
    assert t_p_value(values) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue, rel=1e-10)


def test_equal_differences_leave_no_doubt():
    assert t_p_value(np.zeros(5)) == 1.0
    assert t_p_value(np.full(5, 0.25)) == 0.0
    assert t_p_value(np.ones(1)) is None


def test_holm_by_hand():
    # sorted: .005, .01, .03, .04; times 4, 3, 2, 1 and never less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_bootstrap_p_value_by_hand():
    assert bootstrap_p_value(np.array([-1.0, 1.0, 1.0, 1.0])) == pytest.approx(2 * 2 / 5)
    assert bootstrap_p_value(np.ones(999)) == pytest.approx(2 / 1000)


def test_wider_of_two():
    narrow, wide = Interval(0.0, 1.0, "a"), Interval(-1.0, 1.0, "b")
    assert wider(narrow, wide) is wide and wider(wide, narrow) is wide
    assert wider(None, narrow) is narrow


def test_bootstrap_is_the_ratio_of_sums_and_paired():
    weights = np.array([1.0, 3.0, 2.0])
    rows = np.stack([weights * 0.5, weights * 0.7])
    drawn = bootstrap(rows, weights, draws=50, seed=1)
    assert np.allclose(drawn, [0.5, 0.7])  # constant per weight, whatever is drawn
    again = bootstrap(rows, weights, draws=50, seed=1)
    assert np.array_equal(drawn, again)


def test_bootstrap_spreads_as_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=(1, 400))
    drawn = bootstrap(values, np.ones(400), draws=3000, seed=2)[:, 0]
    assert drawn.std() == pytest.approx(values.std() / math.sqrt(400), rel=0.05)


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
    found = compare(arms(shift), np.ones(300), baseline="random", lower_is_better=lower, draws=500)
    assert found["method"].verdict == verdict
    assert found["random"].verdict == "" and found["random"].delta is None
    assert found["method"].delta == pytest.approx(
        found["method"].mean - found["random"].mean, abs=1e-12
    )


def test_fewer_than_five_seeds_are_too_few_whatever_the_difference():
    for seeds in (1, 2, 4):
        found = compare(
            arms(-1, seeds), np.ones(300), baseline="random", lower_is_better=True, draws=200
        )
        assert found["method"].verdict == TOO_FEW_SEEDS
        assert found["method"].delta_interval.high < 0


def test_the_difference_of_each_seed_is_paired():
    base = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]]) * np.ones((5, 40))
    found = compare(
        {"random": base, "method": base - 0.1}, np.ones(40), baseline="random",
        lower_is_better=True, draws=200,
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
        draws=2000,
    )["method"]  # fmt: skip
    assert found.delta_interval.over == "bootstrap over examples"
    assert found.verdict == NO_DIFFERENCE


def test_correction_grows_with_the_methods_compared():
    both = arms(-0.06)
    settings = {"baseline": "random", "lower_is_better": True, "draws": 2000}
    alone = compare(both, np.ones(300), **settings)["method"]
    others = {f"other{i}": both["random"] for i in range(9)}
    among = compare({**both, **others}, np.ones(300), **settings)["method"]
    assert among.p == alone.p == alone.p_holm
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
    for run in range(runs):
        n, seeds = 60, 5
        shared = rng.normal(size=n)
        seeds_random = 0.05 * rng.normal(size=(seeds, 1))
        seeds_method = 0.05 * rng.normal(size=(seeds, 1))
        found = compare(
            {
                "random": shared + seeds_random,
                "method": shared + seeds_method + 0.05 * rng.normal(size=(seeds, n)),
            },
            np.ones(n), baseline="random", lower_is_better=True, draws=300, seed=run,
        )["method"]  # fmt: skip
        covered += found.delta_interval.low <= 0 <= found.delta_interval.high
        false += found.verdict in (BETTER, WORSE)
    assert covered / runs >= 0.92
    assert false / runs <= 0.08


def test_overlap():
    assert jaccard([], []) == 1.0
    assert jaccard(["a"], ["b"]) == 0.0
