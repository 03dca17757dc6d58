import numpy as np
import pytest

from curate.contracts import Rendering, SegmentStats, Stat
from curate.scorers.embedding import Embedding


@pytest.mark.parametrize(
    ("pooling", "stat", "value"),
    [
        ("mean", Stat.MEAN_HIDDEN, 1.0),
        ("weighted_mean", Stat.WEIGHTED_HIDDEN, 2.0),
        ("last", Stat.LAST_HIDDEN, 3.0),
    ],
)
def test_a_vector_is_the_pooled_state_asked_for(pooling, stat, value):
    scorer = Embedding(pooling)
    stats = SegmentStats(
        np.zeros(0), np.zeros(0, bool), False, 2,
        mean_hidden=np.ones(3), weighted_hidden=np.full(3, 2.0), last_hidden=np.full(3, 3.0),
    )  # fmt: skip
    assert scorer.emits == {stat}
    assert scorer.segments()[0].rendering == Rendering("plain")
    vector = scorer.reduce({"full": stats})["vector"]
    assert vector.dtype == np.float32 and vector.tolist() == [value] * 3
