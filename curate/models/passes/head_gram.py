"""Gradient norms of a linear head for all examples of a batch at once, on a GPU."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from curate.models.passes import head_kernel
from curate.models.passes.head import Head, HeadWants, chunks, head_stats

GRAM_ROWS: Final = 1_024  # rows whose residuals are multiplied with each other at once
LONGEST: Final = 4_096  # a longer example is left to `head_stats`, which holds less of it

_FIRST_MM: Final = (2, 8)  # torch whose matrix products can return float32 for bfloat16


def gram_norms(
    head: Head,
    hidden: Tensor,
    targets: Tensor,
    ends: Tensor,
    examples: Tensor,
    sizes: Tensor,
    counts: Sequence[int],
    grams: frozenset[bool],
) -> tuple[Tensor, Tensor, dict[bool, Tensor]]:
    """Return likelihoods, entropies, and the squared norms of the head's gradient of every example.

    The gradient of an example's summed loss is a sum over its positions t of r_t h_t^T, and its
    squared norm the sum over t and s of (r_t r_s) (h_t h_s): two matrix products over a chunk of
    whole examples, of which the pairs within an example count. Residuals are rounded to the model's
    dtype, after a subtraction that loses nothing; products are summed in float32.

    Parameters
    ----------
    head
        A linear one.
    hidden, targets, ends
        Final hidden states at the scored positions, the token scored at each, and whether it ends a
        turn: (rows, dim), (rows,), (rows,).
    examples
        Number of the example each row is of, (rows,).
    sizes, counts
        Rows of each example, on the device and on the host.
    grams
        Whether to sum with the ends of turns, without, or both.

    Returns
    -------
    nll, entropy
        (rows,) each, float32.
    sq_norm
        (examples,) each, float64, by whether ends of turns count.
    """
    nlls, spreads = [], []
    norms: dict[bool, list[Tensor]] = {with_end: [] for with_end in sorted(grams)}
    for first, last, start, stop in chunks(counts, GRAM_ROWS):
        h, y, end = hidden[start:stop], targets[start:stop], ends[start:stop]
        if stop - start > LONGEST:
            (stats,) = head_stats(head, h, y, [end], HeadWants(True, grams))
            assert stats.entropy is not None
            nlls.append(stats.nll.float())
            spreads.append(stats.entropy.float())
            for with_end, parts in norms.items():
                parts.append(stats.sq_norm[with_end][None])
            continue
        nll, spread, pairs = _pairs(head, h, y)
        nlls.append(nll)
        spreads.append(spread)
        if last > first + 1:
            own = examples[start:stop]
            pairs = pairs * (own[:, None] == own[None])
        for with_end, parts in norms.items():
            keep = torch.ones_like(nll, dtype=torch.float64) if with_end else (~end).double()
            by_row = (pairs @ keep) * keep
            lengths = sizes[first:last]
            parts.append(torch.segment_reduce(by_row, "sum", lengths=lengths, unsafe=True))
    sq_norm = {with_end: torch.cat(parts) for with_end, parts in norms.items()}
    return torch.cat(nlls), torch.cat(spreads), sq_norm


def _pairs(head: Head, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return likelihoods, entropies and (r_t r_s) (h_t h_s) of all pairs of rows, float64."""
    raw = torch.nn.functional.linear(hidden, head.weight)
    nll, spread, log_total = head_kernel.row_statistics(raw, targets)
    head_kernel.to_residuals(raw, targets, nll, log_total)
    return nll, spread, _gram(raw).double() * _gram(hidden).double()


def _gram(x: Tensor) -> Tensor:
    """Return ``x x^T``, summed and returned in float32."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if x.is_cuda and x.dtype != torch.float32 and version >= _FIRST_MM:
        exact: Tensor = torch.mm(x, x.T, out_dtype=torch.float32)
        return exact
    return x.float() @ x.float().T
