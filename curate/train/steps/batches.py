"""Which rows form a step, and how a step is cut into forward passes: pure functions of lengths and seed.

The rows of a step depend on neither the size of a forward pass nor the number of processes, so a
run gives the same weights up to rounding wherever it is run.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Int

BLOCK_TOKENS: Final = 2_048  # rows of similar length that stay together
WINDOW_BATCHES: Final = 32  # steps whose rows are sorted by length together
MAX_WASTE: Final = 0.04  # share of a step's tokens that may be padding
CUDA_PASS_TOKENS: Final = (
    4_096  # measured at 1.5B weights: a pass takes about 0.1 s beside its tokens
)
_RATIOS: Final = (0.5, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 1.0)

Rows = Int[np.ndarray, " n"]


def plan_epoch(
    lengths: Rows, members: Rows, batch_tokens: int, rng: np.random.Generator
) -> list[Rows]:
    """Cut one pass over some rows into batches of about ``batch_tokens`` tokens, in training order.

    Rows are shuffled; inside windows of 32 batches they are sorted by length and cut into blocks
    of 2,048 tokens; the blocks are shuffled and dealt into batches of nearly equal size, none above
    ``batch_tokens`` by more than half a block. Every row is in exactly one batch. O(n log n).

    Parameters
    ----------
    lengths
        Tokens of every row of the run.
    members
        Rows to use, indices into ``lengths``.
    """
    order = rng.permutation(members)
    blocks: list[Rows] = []
    block_tokens = min(BLOCK_TOKENS, batch_tokens)
    for window in _cut(lengths, order, WINDOW_BATCHES * batch_tokens):
        by_length = window[np.argsort(lengths[window], kind="stable")]
        blocks += _cut(lengths, by_length, block_tokens)
    shuffled = [blocks[i] for i in rng.permutation(len(blocks))]
    reached = np.cumsum([int(lengths[block].sum()) for block in shuffled])
    n_batches = -(-int(reached[-1]) // batch_tokens)
    goals = reached[-1] * np.arange(1, n_batches) / n_batches
    after = np.searchsorted(reached, goals)  # the block in which each batch would end
    before = np.where(after > 0, reached[np.maximum(after - 1, 0)], 0)
    stops = np.where(goals - before < reached[after] - goals, after, after + 1)
    edges = np.unique(np.concatenate([[0], stops, [len(shuffled)]]))
    return [np.concatenate(shuffled[start:stop]) for start, stop in pairwise(edges)]


def cut_micro(
    lengths: Rows, rows: Rows, micro_tokens: int, n_processes: int = 1, *, pass_tokens: int = 0
) -> list[Rows]:
    """Cut a batch into forward passes of rows of similar length, the longest first.

    Each holds at most ``micro_tokens`` tokens, padding included (a longer row goes alone), and at
    most 4% of the batch's tokens are padding: rows much shorter than the longest start a new pass.
    With several processes a pass is small enough for each to get one.

    Parameters
    ----------
    pass_tokens
        Tokens that could run in the time a pass takes beside those in it. Where it is not 0, passes and
        their padding are cut to cost least, whatever the padding.
    """
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    total = int(lengths[rows].sum())
    limit = min(micro_tokens, -(-total // n_processes)) if n_processes > 1 else micro_tokens
    if pass_tokens:
        cuts = [_by_ratio(lengths, ordered, limit, ratio) for ratio in (0.0, *_RATIOS)]
        return min(cuts, key=lambda cut: _padded(lengths, cut) + pass_tokens * len(cut))
    for ratio in _RATIOS:
        passes = _by_ratio(lengths, ordered, limit, ratio)
        if _padded(lengths, passes) * (1 - MAX_WASTE) <= total:
            break
    return passes


def deal(lengths: Rows, passes: Sequence[Rows], n_processes: int) -> list[list[int]]:
    """Give each forward pass to a process, the largest first, always to the least loaded.

    Returns the indices into ``passes`` per process; a process may get none.
    """
    load = [0] * n_processes
    dealt: list[list[int]] = [[] for _ in range(n_processes)]
    cost = [int(lengths[part].max()) * len(part) for part in passes]
    for index in sorted(range(len(passes)), key=lambda i: (-cost[i], i)):
        process = load.index(min(load))
        load[process] += cost[index]
        dealt[process].append(index)
    return [sorted(indices) for indices in dealt]


def keep_within_tokens(lengths: Rows, rows: Rows, n_tokens: int) -> Rows:
    """Return the first rows that together have at most ``n_tokens`` tokens."""
    return rows[: int(np.searchsorted(np.cumsum(lengths[rows]), n_tokens, side="right"))]


def _cut(lengths: Rows, rows: Rows, n_tokens: int) -> list[Rows]:
    """Cut rows, in order, into runs of at most ``n_tokens`` tokens; a longer row is a run of its own."""
    reached = np.concatenate([[0], np.cumsum(lengths[rows])])
    runs = []
    start = 0
    while start < len(rows):
        stop = int(np.searchsorted(reached, reached[start] + n_tokens, side="right")) - 1
        stop = max(stop, start + 1)
        runs.append(rows[start:stop])
        start = stop
    return runs


def _padded(lengths: Rows, passes: Sequence[Rows]) -> int:
    return sum(int(lengths[part[0]]) * len(part) for part in passes)


def _by_ratio(lengths: Rows, ordered: Rows, limit: int, ratio: float) -> list[Rows]:
    passes = []
    start = 0
    for at in range(1, len(ordered) + 1):
        longest = int(lengths[ordered[start]])
        if (
            at == len(ordered)
            or longest * (at - start + 1) > limit
            or lengths[ordered[at]] < ratio * longest
        ):
            passes.append(ordered[start:at])
            start = at
    return passes
