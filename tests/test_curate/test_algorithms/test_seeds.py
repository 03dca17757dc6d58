"""Seeds drawn from a generator."""

import numpy as np

from curate.algorithms.seeds import MAX_SEED, draw_seed


def test_the_same_generator_draws_the_same_seeds_and_they_fit_32_bits_with_a_sign():
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    seeds = [draw_seed(first) for _ in range(1000)]
    assert seeds == [draw_seed(second) for _ in range(1000)]
    assert len(set(seeds)) == 1000
    assert 0 <= min(seeds) and max(seeds) < MAX_SEED == np.iinfo(np.int32).max
