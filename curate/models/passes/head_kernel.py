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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return negative log-probability, entropy and log of the summed exponentials of each row, in nats.

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
    nll, entropy, log_total
        (rows,) each, float32.
    """
    rows, vocabulary = raw.shape
    nll = torch.empty(rows, dtype=torch.float32, device=raw.device)
    entropy, log_total = torch.empty_like(nll), torch.empty_like(nll)
    if rows:
        launch: Any = _row_statistics[(rows,)]
        with torch.cuda.device(raw.device):  # not always the current one: see `LoadedModel.cards`
            launch(
                raw, targets, raw if bias is None else bias, nll, entropy, log_total, raw.stride(0), scale,
                1.0 if softcap is None else softcap, VOCABULARY=vocabulary,
                HAS_BIAS=bias is not None, HAS_CAP=softcap is not None,
                BLOCK=min(BLOCK, _power_of_two(vocabulary)), num_warps=WARPS,
            )  # fmt: skip
    return nll, entropy, log_total


def to_residuals(raw: Tensor, targets: Tensor, nll: Tensor, log_total: Tensor) -> None:
    """Overwrite the logits of a linear head with the gradient of each row's loss by them.

    Softmax minus one at the target, which is computed without cancellation and then rounded to the
    dtype of ``raw``.

    Parameters
    ----------
    raw
        Logits, (rows, V), contiguous; changed in place.
    targets, nll, log_total
        Of each row, (rows,); see `row_statistics`.
    """
    rows, vocabulary = raw.shape
    block = min(BLOCK, _power_of_two(vocabulary))
    if rows:
        launch: Any = _residuals[(rows, (vocabulary + block - 1) // block)]
        with torch.cuda.device(raw.device):
            launch(
                raw, targets, nll, log_total, raw.stride(0),
                VOCABULARY=vocabulary, BLOCK=block, num_warps=WARPS,
            )  # fmt: skip


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
        raw, targets, bias, nll, entropy, log_total, stride, scale, cap, VOCABULARY: tl.constexpr,
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
        tl.store(log_total + row, tl.log(mass) + top)

    @triton.jit
    def _residuals(
        raw, targets, nll, log_total, stride, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr
    ):
        row = tl.program_id(0).to(tl.int64)
        columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = columns < VOCABULARY
        at = raw + row * stride + columns
        x = tl.load(at, mask=inside, other=0.0)
        residual = tl.exp(x.to(tl.float32) - tl.load(log_total + row))
        n = tl.load(nll + row)
        series = -n * (1.0 - n * (0.5 - n * (1.0 / 6.0 - n / 24.0)))  # exp(-n) - 1 for a small n
        own = tl.where(n < 0.03, series, tl.exp(-n) - 1.0)
        residual = tl.where(columns == tl.load(targets + row), own, residual)
        tl.store(at, residual.to(x.dtype), mask=inside)
