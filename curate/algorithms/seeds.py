"""Seeds drawn from a generator, for what takes an integer instead."""

from typing import Final

import numpy as np

MAX_SEED: Final = 2**31 - 1  # faiss takes 32 bits with a sign


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed in [0, 2^31 - 1).

    Examples
    --------
    >>> draw_seed(np.random.default_rng(0))
    1826701614
    """
    return int(rng.integers(MAX_SEED))
