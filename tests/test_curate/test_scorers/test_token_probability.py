import numpy as np
import pytest

from curate.contracts import SegmentStats
from curate.errors import ExampleFailure
from curate.scorers.token_probability import TokenProbability


def stats(probabilities, ends):
    nll = -np.log(probabilities)
    return {"full": SegmentStats(nll, np.array(ends, dtype=bool), True, len(nll) + 3)}


def test_mean_of_probabilities_without_the_end():
    found = TokenProbability().reduce(stats([0.5, 0.25, 1.0], [False, False, True]))
    assert found == {"mean_probability": pytest.approx(0.375), "truncated": True}
    with_end = TokenProbability(score_end=True).reduce(
        stats([0.5, 0.25, 1.0], [False, False, True])
    )
    assert with_end["mean_probability"] == pytest.approx(1.75 / 3)


def test_nothing_to_score_fails_the_example():
    with pytest.raises(ExampleFailure, match="no_scored_tokens"):
        TokenProbability().reduce(stats([0.5], [True]))
