"""Tokens of a forward pass in training by a card's memory: the most that fit, tried with the longest rows."""

from collections.abc import Callable
from typing import Final

LARGEST: Final = 32_768  # tokens from where on a pass costs little beside its tokens


def pass_size(fits: Callable[[int], bool], least: int, batch_tokens: int) -> int:
    """Return the tokens of a pass: ``least`` doubled as often as it fits and a step has tokens for it.

    The largest is tried first; ``least`` is taken as it is.

    Parameters
    ----------
    fits
        Whether a pass of some tokens, forward and backward, leaves room for the rest of the run.
    batch_tokens
        Tokens of a step for each process.
    """
    most = least
    while 2 * most <= min(LARGEST, max(batch_tokens, least)):
        most *= 2
    while most > least and not fits(most):
        most //= 2
    return most
