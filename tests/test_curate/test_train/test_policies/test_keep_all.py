import numpy as np

from curate.contracts import BatchStats
from curate.train.policies.keep_all import KeepAll


def test_every_row_is_kept_in_order_and_the_model_is_not_asked():
    policy = KeepAll()
    stats = BatchStats(list("abc"), np.full(3, np.nan), np.full(3, 3))
    kept = policy.keep(stats, policy.size(3), np.random.default_rng(0), policy.initial_state())
    assert kept.tolist() == [0, 1, 2]
    assert not policy.needs_stats
