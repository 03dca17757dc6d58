"""A GPU kernel that reads each logit once: log-probability and entropy of the rows of a chunk."""

from typing import Any, Final

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of torch: `available` says so
    triton = None

BLOCK: Final = 4096
WARPS: Final = 8


def available() -> bool:
    """Return whether the kernel can be compiled here."""
    return triton is not None


def row_statistics(
    raw: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the negative log-probability of each target and the entropy of each row, in nats.

    The softmax is summed in float32 while the logits stream by, so that nothing of the size of the
    logits is written.

    Parameters
    ----------
    raw
        Projections of the hidden states, (rows, V), contiguous, in the model's dtype.
    targets
        Token ids, (rows,), int64.
    bias, scale, softcap
        What turns projections into logits; see `Head`.

    Returns
    -------
    nll, entropy
        (rows,) each, float32.
    """
    rows, vocabulary = raw.shape
    nll = torch.empty(rows, dtype=torch.float32, device=raw.device)
    entropy = torch.empty_like(nll)
    if rows:
        launch: Any = _row_statistics[(rows,)]
        launch(
            raw, targets, raw if bias is None else bias, nll, entropy, raw.stride(0), scale,
            1.0 if softcap is None else softcap, VOCABULARY=vocabulary,
            HAS_BIAS=bias is not None, HAS_CAP=softcap is not None,
            BLOCK=min(BLOCK, _power_of_two(vocabulary)), num_warps=WARPS,
        )  # fmt: skip
    return nll, entropy


def _power_of_two(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


if triton is not None:

    @triton.jit
    def _logits(
        x, bias, columns, inside, scale, cap, HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr
    ):
        x = x.to(tl.float32)
        if HAS_BIAS:
            x = x + tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
        x = x * scale
        if HAS_CAP:
            x = cap * (2.0 * tl.sigmoid(2.0 * x / cap) - 1.0)  # cap * tanh(x / cap)
        return x

    @triton.jit
    def _row_statistics(
        raw, targets, bias, nll, entropy, stride, scale, cap, VOCABULARY: tl.constexpr,
        HAS_BIAS: tl.constexpr, HAS_CAP: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64)
        base = raw + row * stride
        lanes = tl.arange(0, BLOCK)
        top = -1e30
        total = tl.zeros((BLOCK,), tl.float32)  # sum of exp(logit - top), by lane
        moment = tl.zeros((BLOCK,), tl.float32)  # sum of exp(logit - top) (logit - top), by lane
        for start in range(0, VOCABULARY, BLOCK):
            columns = start + lanes
            inside = columns < VOCABULARY
            x = tl.load(base + columns, mask=inside, other=0.0)
            x = _logits(x, bias, columns, inside, scale, cap, HAS_BIAS, HAS_CAP)
            x = tl.where(inside, x, -1e30)
            higher = tl.maximum(top, tl.max(x, axis=0))
            shrink = tl.exp(top - higher)
            moment = shrink * (moment + (top - higher) * total)
            total = shrink * total
            x = tl.maximum(x - higher, -1e30)
            e = tl.exp(x)
            total += e
            moment += e * x
            top = higher
        target = tl.load(targets + row)
        aim = tl.load(base + target)
        aim = _logits(aim, bias, target, target >= 0, scale, cap, HAS_BIAS, HAS_CAP)
        mass = tl.sum(total, axis=0)
        tl.store(nll + row, tl.log(mass) - (aim - top))
        tl.store(entropy + row, tl.log(mass) - tl.sum(moment, axis=0) / mass)
