import math

import numpy as np
import pytest

from curate.contracts import Rendering, SegmentStats
from curate.errors import ExampleFailure
from curate.scorers.likelihood import Likelihood


def stats(nll, ends=None, truncated=False):
    ends = np.zeros(len(nll), bool) if ends is None else np.array(ends)
    return {"full": SegmentStats(np.array(nll), ends, truncated, 9, np.array(nll) / 2)}


def test_two_tokens_by_hand():
    value = Likelihood().reduce(stats([math.log(2), math.log(8)], truncated=True))
    assert value == {
        "n_tokens": 2,
        "sum_logp": pytest.approx(-math.log(16)),
        "mean_logp": pytest.approx(-math.log(4)),
        "mean_entropy": pytest.approx(math.log(4) / 2),
        "truncated": True,
    }


def test_the_end_counts_only_when_asked_for():
    given = stats([1.0, 3.0], [False, True])
    assert Likelihood().reduce(given)["mean_logp"] == -1.0
    assert Likelihood(score_end=True).reduce(given)["mean_logp"] == -2.0


def test_sum_and_mean_rank_a_pair_differently():
    short, long = stats([1.0]), stats([0.5, 0.5, 0.5])
    values = [Likelihood().reduce(one) for one in (short, long)]
    assert values[0]["sum_logp"] > values[1]["sum_logp"]
    assert values[0]["mean_logp"] < values[1]["mean_logp"]


def test_a_response_of_nothing_but_its_end_fails():
    with pytest.raises(ExampleFailure, match="no_scored_tokens"):
        Likelihood().reduce(stats([1.0], [True]))


def test_fields_reach_the_rendering():
    scorer = Likelihood("plain", turns="last", boundary="separate", score_tokens="all")
    (segment,) = scorer.segments()
    assert segment.rendering == Rendering("plain", turns="last", boundary="separate", scored="all")
