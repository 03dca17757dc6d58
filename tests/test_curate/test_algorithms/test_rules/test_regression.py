import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.algorithms.rules.linear_rules import read_rule
from curate.algorithms.rules.regression import (
    fit_linear,
    gcv_penalty,
    least_squares,
    leave_one_out_r2,
    variance_inflation,
)
from curate.contracts import Need
from curate.errors import ConfigError

NAMES = ["reward", "mtld", "length"]
TRUTH, INTERCEPT = np.array([-0.02, 0.004, 1e-4]), 0.7


def runs(n=120, noise=0.0, seed=0):
    """Runs whose indicators differ in unit and spread, and whose log loss follows a known rule."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) * [0.5, 10.0, 80.0] + [1.0, 70.0, 300.0]
    return x, INTERCEPT + x @ TRUTH + noise * rng.normal(size=n)


def fit(x, y, names=NAMES, seed=0, **options):
    return fit_linear(x, y, names, np.random.default_rng(seed), **options)


def standardised(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


# What fit promises -------------------------------------------------------------------------------


def test_planted_coefficients_are_recovered_in_their_own_units():
    found = fit(*runs())
    assert [one.ols for one in found.coefficients] == pytest.approx(TRUTH, rel=1e-9)
    assert found.ols_intercept == pytest.approx(INTERCEPT, rel=1e-9)
    assert (found.r2, found.loo_r2) == pytest.approx((1, 1))
    assert found.warnings == ()
    for one, scale in zip(found.coefficients, [0.5, 10, 80], strict=True):
        assert one.ols_standardised == pytest.approx(one.ols * one.sd)
        assert one.sd == pytest.approx(scale, rel=0.2) and one.vif < 1.1


def test_with_noise_the_truth_lies_in_the_intervals_and_ridge_is_near():
    found = fit(*runs(noise=0.01))
    for one, truth in zip(found.coefficients, TRUTH, strict=True):
        assert one.ci_low < truth < one.ci_high
        assert one.ridge == pytest.approx(one.ols, rel=0.05)
    assert 0.5 < found.loo_r2 < found.r2 < 1
    assert found.n_bootstrap == 2_000


def test_bootstrap_intervals_cover_as_they_say_and_follow_the_seed():
    covered = []
    for seed in range(60):
        x, y = runs(n=40, noise=0.02, seed=seed)
        found = fit(x, y, seed=seed, n_bootstrap=200)
        pairs = zip(found.coefficients, TRUTH, strict=True)
        covered += [one.ci_low < truth < one.ci_high for one, truth in pairs]
    assert 0.86 < np.mean(covered) < 0.99
    x, y = runs(n=40, noise=0.02)
    assert fit(x, y, n_bootstrap=50) == fit(x, y, n_bootstrap=50)
    assert fit(x, y, n_bootstrap=50) != fit(x, y, seed=1, n_bootstrap=50)


def test_planted_collinearity_is_flagged():
    x, y = runs(noise=0.01)
    rng = np.random.default_rng(1)
    twin = x[:, :1] + 0.05 * rng.normal(size=(len(x), 1))
    found = fit(np.hstack([x, twin]), y, [*NAMES, "twin"])
    inflated = [one.indicator for one in found.coefficients if one.vif > 10]
    assert inflated == ["reward", "twin"]
    assert [w.split("'")[1] for w in found.warnings] == ["reward", "twin"]
    assert "variance inflation" in found.warnings[0] and "take the ridge" in found.warnings[0]


def test_an_exact_combination_has_infinite_inflation_and_no_intervals():
    x, y = runs(noise=0.01)
    found = fit(np.column_stack([x, x[:, 0] + x[:, 1]]), y, [*NAMES, "sum"])
    assert [one.vif for one in found.coefficients[:2]] == [math.inf, math.inf]
    assert found.coefficients[2].vif < 1.1
    assert found.n_bootstrap == 0 and math.isnan(found.coefficients[0].ci_low)
    assert "only 0 of 2000 bootstrap draws could be fitted" in found.warnings[-1]
    json.dumps(found.statistics(), allow_nan=False)


def test_few_runs_warn_and_too_few_are_refused():
    x, y = runs(noise=0.01)
    assert fit(x[:30], y[:30]).warnings == ()
    [warning] = fit(x[:29], y[:29]).warnings
    assert warning == (
        "29 runs are few for 3 indicators: with fewer than 30 coefficients are unstable; "
        "train more runs, or use fewer indicators"
    )
    fit(x[:5], y[:5])
    with pytest.raises(ConfigError) as caught:
        fit(x[:4], y[:4])
    assert str(caught.value) == (
        "4 runs cannot fit 3 indicators and an intercept: at least 5 are needed, and 30 to trust "
        "the result; train more runs, or give fewer indicators"
    )


def test_noise_alone_is_said_to_predict_nothing():
    rng = np.random.default_rng(1)
    found = fit(rng.normal(size=(60, 3)), rng.normal(size=60))
    assert found.loo_r2 < 0 < found.r2 and any(
        "no better than the mean" in w for w in found.warnings
    )


def test_a_run_that_alone_decides_a_coefficient_is_said():
    x, y = runs(n=40, noise=0.01)
    x[:, 2] = np.arange(40) == 5
    found = fit(x, y)
    assert math.isnan(found.loo_r2)
    assert any("one run alone determines a coefficient" in w for w in found.warnings)


def test_a_fit_becomes_a_rule_that_predicts_the_runs():
    x, y = runs()
    columns = {name: f"{name}.{name}" for name in NAMES}
    needs = {name: Need(name) for name in NAMES}
    for estimator in ("ols", "ridge"):
        rule = fit(x, y).rule("mine", columns, needs, {"pool": "a"}, estimator)
        again = read_rule(rule.to_json())
        values = {columns[name]: x[:, j] for j, name in enumerate(NAMES)}
        assert again.predict(values) == pytest.approx(y, rel=1e-4)
        assert again.statistics["estimator"] == estimator and again.provenance == {"pool": "a"}
        assert again.statistics["coefficients"][0]["indicator"] == "reward"


# Closed forms against brute force ----------------------------------------------------------------


def by_refitting(z, y, penalty):
    """PRESS the slow way: n fits with a free intercept, each without one run."""
    errors = []
    for out in range(len(y)):
        rest = np.arange(len(y)) != out
        design = np.column_stack([np.ones(len(y) - 1), z[rest]])
        lhs = design.T @ design + penalty * np.diag([0, *np.ones(z.shape[1])])
        b = np.linalg.solve(lhs, design.T @ y[rest])
        errors.append(y[out] - b[0] - z[out] @ b[1:])
    return 1 - np.sum(np.square(errors)) / np.sum(np.square(y - y.mean()))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.0, 0.3, 25.0]))
def test_leave_one_out_is_that_of_refitting_without_each_run(seed, p, penalty):
    rng = np.random.default_rng(seed)
    z, y = standardised(rng.normal(size=(p + 8, p))), rng.normal(size=p + 8)
    assert leave_one_out_r2(z, y, penalty) == pytest.approx(by_refitting(z, y, penalty), rel=1e-8)


@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_least_squares_solves_the_normal_equations(penalty):
    x, y = runs(n=25, noise=0.1)
    z = standardised(x)
    found = least_squares(z, y, penalty)
    assert z.T @ (y - y.mean() - z @ found) - penalty * found == pytest.approx(0, abs=1e-10)


def test_the_penalty_minimises_generalised_cross_validation_by_hat_matrices():
    x, y = runs(n=30, noise=0.1)
    z = standardised(x)
    n, p = z.shape

    def gcv(penalty):
        hat = np.ones((n, n)) / n + z @ np.linalg.inv(z.T @ z + penalty * np.eye(p)) @ z.T
        return n * np.sum(np.square(y - hat @ y)) / (n - np.trace(hat)) ** 2

    best = gcv_penalty(z, y)
    assert best > 0.1  # so much noise wants shrinkage
    assert all(gcv(best) <= gcv(best * factor) for factor in (0.1, 0.8, 1.25, 10))


def test_variance_inflation_is_the_diagonal_of_the_inverse_correlations():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    wanted = np.diag(np.linalg.inv(np.corrcoef(x, rowvar=False)))
    assert variance_inflation(standardised(x)) == pytest.approx(wanted, rel=1e-9)
    assert variance_inflation(standardised(x[:, :1])).tolist() == [1.0]


# Bad input ---------------------------------------------------------------------------------------


def test_an_indicator_that_never_changes_is_refused():
    x, y = runs()
    x[:, 1] = 70.1
    with pytest.raises(ConfigError, match="'mtld' is 70.1 in every run, so nothing can be learned"):
        fit(x, y)
    with pytest.raises(ConfigError, match="the log loss is 0.7 in every run"):
        fit(runs()[0], np.full(120, 0.7))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_named(bad):
    x, y = runs()
    y[7] = bad
    with pytest.raises(ConfigError, match=rf"the log loss of run 7 is {bad}; every number must be"):
        fit(x, y)
    x[3, 2] = bad
    with pytest.raises(ConfigError, match=rf"'length' of run 3 is {bad}"):
        fit(x, runs()[1])


def test_shapes_that_do_not_fit_are_refused():
    x, y = runs()
    with pytest.raises(
        ConfigError, match="120 runs of 3 indicators, 119 losses and 3 names do not"
    ):
        fit(x, y[:-1])
