import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.scorers.bsdetector.formula import (
    combine,
    expected_choice,
    observed_consistency,
    symmetric_similarity,
)

shares = st.floats(0, 1)


@pytest.mark.parametrize(
    ("consistency", "reflection", "confidence"),
    [(0.91361, 1.0, 0.93952), (0.20592, 1.0, 0.44414), (0.67221, 0.25, 0.54554), (0.89259, 0.0, 0.62481)],
)  # fmt: skip
def test_published_rows(consistency, reflection, confidence):
    assert combine(consistency, reflection, 0.7) == pytest.approx(confidence, abs=1e-5)


@given(st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=6), shares)
def test_the_defaults_are_one_ensemble_of_three_weights(samples, reflection):
    """beta alpha = .56, beta (1 - alpha) = .14, 1 - beta = .30, as a mean of three scores."""
    similarity = np.array([s for s, _ in samples])
    match = np.array([int(r) for _, r in samples])
    ensemble = 0.56 * similarity.mean() + 0.14 * match.mean() + 0.30 * reflection
    observed = observed_consistency(similarity, match, 0.8)
    assert combine(observed, reflection, 0.7) == pytest.approx(ensemble, abs=1e-12)


def test_consistency_at_its_ends():
    assert observed_consistency(np.ones(5), np.ones(5, int), 0.8) == 1
    assert observed_consistency(np.zeros(5), np.zeros(5, int), 0.8) == 0


@given(shares, shares)
def test_similarity_does_not_depend_on_the_order(forward, backward):
    found = symmetric_similarity(forward, backward)
    assert found == symmetric_similarity(backward, forward)
    assert found == pytest.approx(((1 - forward) + (1 - backward)) / 2, abs=1e-15)


def test_golden_choice():
    """Logits 2, 0, 1 for correct, incorrect, not sure: softmax .6652, .0900, .2447."""
    logits = np.array([2.0, 0.0, 1.0])
    assert float(expected_choice(logits)) == pytest.approx(0.6652 + 0.5 * 0.2447, abs=1e-4)
    assert float(expected_choice(logits)) == pytest.approx(0.7876, abs=5e-5)


@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3), st.floats(-500, 500))
def test_a_constant_changes_no_choice(logits, constant):
    plain = float(expected_choice(np.array(logits)))
    assert plain == pytest.approx(float(expected_choice(np.array(logits) + constant)), abs=1e-9)
    assert 0 <= plain <= 1
