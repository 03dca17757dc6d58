import numpy as np
import pytest

from curate.contracts import BatchStats
from curate.errors import ConfigError
from curate.train.policies.drop_highest_loss import DropHighestLoss


def test_policy_drops_the_highest_losses_and_counts():
    policy = DropHighestLoss(2)
    state = policy.initial_state()
    stats = BatchStats(list("abcd"), np.array([1.0, 9.0, 5.0, 2.0]), np.full(4, 3))
    rng = np.random.default_rng(0)
    assert policy.keep(stats, policy.size(4), rng, state).tolist() == [0, 3]
    assert policy.keep(stats, policy.size(2), rng, state).tolist() == [0]
    assert state["dropped"] == {"b": 2, "c": 2, "d": 1}


def test_ties_go_to_the_row_that_comes_first():
    stats = BatchStats(list("abc"), np.array([2.0, 2.0, 2.0]), np.full(3, 3))
    policy = DropHighestLoss()
    kept = policy.keep(stats, 2, np.random.default_rng(0), policy.initial_state())
    assert kept.tolist() == [0, 1]


def test_dropping_nothing_is_another_policy():
    with pytest.raises(ConfigError, match=r"must be at least 1, got 0; .* --policy keep-all"):
        DropHighestLoss(0)
