"""The confidence in a verdict on hand-worked logits, and what becomes of a response, case by case."""

from itertools import product

import numpy as np
import pytest

from curate.scorers.bsdetector.verdict import Verdict, decide, shares_of, verdict_of

# logits of A, B and C where the candidate is B, then where it is A
LOGITS = np.array([[0.0, 2.0, 1.0], [2.0, 0.0, 1.0]])


def test_both_orders_count_half_each():
    found = verdict_of(shares_of(LOGITS), 0.9)
    assert found.consistency == pytest.approx(0.66524096)  # e^2 / (1 + e + e^2)
    assert found.confidence == pytest.approx(0.7 * 0.66524096 + 0.3 * 0.9)
    assert found.agree
    one_sided = verdict_of(shares_of(np.array([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]])), 0.9)
    assert one_sided.consistency == pytest.approx((0.66524096 + 0.09003057) / 2)
    assert not one_sided.agree


def test_shares_do_not_change_with_a_constant():
    assert shares_of(LOGITS + 123.0) == pytest.approx(shares_of(LOGITS))
    assert shares_of(LOGITS).sum(axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("first", "second", "agree"),
    [
        ([0.1, 0.8, 0.1], [0.8, 0.1, 0.1], True),
        ([0.8, 0.1, 0.1], [0.8, 0.1, 0.1], False),  # always the one shown first
        ([0.1, 0.8, 0.1], [0.1, 0.8, 0.1], False),  # always the one shown second
        ([0.1, 0.8, 0.1], [0.4, 0.1, 0.5], False),  # a tie the second time
        ([0.4, 0.4, 0.2], [0.8, 0.1, 0.1], False),  # not likelier than the other
    ],
)
def test_the_orders_agree_where_the_candidate_is_the_likeliest_in_both(first, second, agree):
    assert verdict_of(np.array([first, second]), 1.0).agree is agree


@pytest.mark.parametrize(
    ("is_kept", "confidence", "agree"),
    list(product([True, False], [None, 0.79, 0.8, 0.81], [True, False])),
)
def test_three_ways_for_every_case(is_kept, confidence, agree):
    verdict = None if confidence is None else Verdict(0.5, 0.5, confidence, agree)
    if confidence == 0.81 and agree:
        expected = "replace"
    elif is_kept:
        expected = "keep"
    else:
        expected = "drop"
    assert decide(is_kept, verdict, 0.8) == expected


def test_the_threshold_itself_is_not_above_it_however_it_is_rounded():
    for consistency in np.linspace(0.72, 1.0, 29):
        reflection = (0.8 - 0.7 * consistency) / 0.3
        confidence = verdict_of(
            np.array([[0, consistency, 0], [consistency, 0, 0]]), float(reflection)
        ).confidence
        assert confidence == pytest.approx(0.8, abs=1e-12)
        assert decide(False, Verdict(consistency, reflection, confidence, True), 0.8) == "drop"
    assert decide(False, Verdict(1, 1, 0.8 + 1e-9, True), 0.8) == "replace"
