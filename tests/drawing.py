"""Draws of tokens worked out one at a time, in Python's whole numbers."""

import numpy as np

WORD = (1 << 64) - 1


def mixed(z: int) -> int:
    """The finaliser of SplitMix64 in whole numbers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def slow_draw(logits, key: int, step: int, temperature: float) -> int:
    """Draw one token by the keyed Gumbel noise."""
    stream = mixed((key + (step + 1) * 0x9E3779B97F4A7C15) & WORD)
    scores = []
    for token, logit in enumerate(logits):
        bits = mixed((stream + (token + 1) * 0x9E3779B97F4A7C15) & WORD)
        uniform = ((bits >> 11) + 0.5) / 2**53
        scores.append(float(logit) / temperature - np.log(-np.log(uniform)))
    return int(np.argmax(scores))
