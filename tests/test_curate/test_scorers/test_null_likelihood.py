import numpy as np
import pytest

from curate.contracts import SegmentStats
from curate.errors import ExampleFailure
from curate.scorers.null_likelihood import NullLikelihood
from curate.testing import check_scorer


def stats(nll, ends):
    return {"response": SegmentStats(np.array(nll), np.array(ends, dtype=bool), True, 9)}


def test_the_response_alone_is_summed_without_its_end():
    found = NullLikelihood().reduce(stats([1.0, 2.0, 4.0], [False, False, True]))
    assert found == {"n_tokens": 2, "sum_logp": -3.0, "mean_logp": -1.5, "truncated": True}
    with_end = NullLikelihood(score_end=True).reduce(stats([1.0, 2.0, 4.0], [False, False, True]))
    assert with_end["sum_logp"] == -7.0
    with pytest.raises(ExampleFailure, match="no_scored_tokens"):
        NullLikelihood().reduce(stats([1.0], [True]))


def test_it_renders_the_response_after_the_lead_and_nothing_else():
    [segment] = NullLikelihood(lead="Answer:").segments()
    assert segment.rendering.part == "response" and segment.rendering.lead == "Answer:"


def test_it_keeps_the_contract():
    check_scorer(NullLikelihood())
