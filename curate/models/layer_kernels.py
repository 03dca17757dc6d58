"""GPU kernels for what lies between the matrix products of a layer: each reads and writes once.

They round where transformers' own code rounds, so that the layers give the same numbers up to the
order of a sum.
"""

from typing import Any, Final

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # no GPU build of torch: `available` says so
    triton = None

FLAT_BLOCK: Final = 1024


def available() -> bool:
    """Return whether the kernels can be compiled here."""
    return triton is not None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return ``weight * (x / rms(x))`` over the last dimension, the mean square in float32."""
    x = x if x.is_contiguous() else x.contiguous()
    result = torch.empty_like(x)
    width = x.shape[-1]
    rows = x.numel() // width
    block = 1 << max(0, width - 1).bit_length()
    if rows:
        launch: Any = _rms_norm[(rows,)]
        launch(x, weight, result, eps, WIDTH=width, BLOCK=block, num_warps=_warps(block))
    return result


def silu_product(gate: Tensor, up: Tensor) -> Tensor:
    """Return ``silu(gate) * up``, rounded after each of the two."""
    result = torch.empty_like(gate)
    n = gate.numel()
    if n:
        launch: Any = _silu_product[((n + FLAT_BLOCK - 1) // FLAT_BLOCK,)]
        launch(gate, up, result, n, BLOCK=FLAT_BLOCK, num_warps=4)
    return result


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x * cos + rotate_half(x) * sin``, rounded after each operation.

    Parameters
    ----------
    x
        (1, heads, tokens, dim), the last dimension contiguous.
    cos, sin
        (1, tokens, dim).
    """
    _, heads, tokens, dim = x.shape
    result = torch.empty((1, tokens, heads, dim), dtype=x.dtype, device=x.device).transpose(1, 2)
    half = dim // 2
    lanes, rows = 1 << max(0, half - 1).bit_length(), 1 << max(0, heads - 1).bit_length()
    if tokens:
        launch: Any = _rotate[(tokens,)]
        launch(
            x, cos, sin, result, x.stride(1), x.stride(2), result.stride(1), result.stride(2),
            cos.stride(1), sin.stride(1), HEADS=heads, HALF=half, ROWS=rows, LANES=lanes,
            num_warps=_warps(rows * lanes),
        )  # fmt: skip
    return result


def _warps(elements: int) -> int:
    return max(1, min(8, elements // 256))


if triton is not None:

    @triton.jit
    def _rms_norm(x, weight, result, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
        start = tl.program_id(0).to(tl.int64) * WIDTH
        lanes = tl.arange(0, BLOCK)
        inside = lanes < WIDTH
        value = tl.load(x + start + lanes, mask=inside, other=0.0)
        exact = value.to(tl.float32)
        scale = tl.rsqrt(tl.sum(exact * exact, axis=0) / WIDTH + eps)
        rounded = (exact * scale).to(value.dtype)
        w = tl.load(weight + lanes, mask=inside, other=0.0)
        out = (w.to(tl.float32) * rounded.to(tl.float32)).to(value.dtype)
        tl.store(result + start + lanes, out, mask=inside)

    @triton.jit
    def _silu_product(gate, up, result, n, BLOCK: tl.constexpr):
        places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = places < n
        g = tl.load(gate + places, mask=inside, other=0.0)
        u = tl.load(up + places, mask=inside, other=0.0)
        exact = g.to(tl.float32)
        activated = (exact / (1.0 + tl.exp(-exact))).to(g.dtype)
        out = (activated.to(tl.float32) * u.to(tl.float32)).to(g.dtype)
        tl.store(result + places, out, mask=inside)

    @triton.jit
    def _rotate(
        x, cos, sin, result, x_head, x_token, out_head, out_token, cos_token, sin_token,
        HEADS: tl.constexpr, HALF: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
    ):  # fmt: skip
        token = tl.program_id(0).to(tl.int64)
        heads = tl.arange(0, ROWS)[:, None]
        lanes = tl.arange(0, LANES)[None, :]
        inside = (heads < HEADS) & (lanes < HALF)
        at = x + token * x_token + heads * x_head + lanes
        first = tl.load(at, mask=inside, other=0.0)
        second = tl.load(at + HALF, mask=inside, other=0.0)
        kind = first.dtype
        a, b = first.to(tl.float32), second.to(tl.float32)
        fits = lanes < HALF
        cos_a = tl.load(cos + token * cos_token + lanes, mask=fits, other=0.0).to(tl.float32)
        cos_b = tl.load(cos + token * cos_token + HALF + lanes, mask=fits, other=0.0).to(tl.float32)
        sin_a = tl.load(sin + token * sin_token + lanes, mask=fits, other=0.0).to(tl.float32)
        sin_b = tl.load(sin + token * sin_token + HALF + lanes, mask=fits, other=0.0).to(tl.float32)
        left = (a * cos_a).to(kind).to(tl.float32) + (-b * sin_a).to(kind).to(tl.float32)
        right = (b * cos_b).to(kind).to(tl.float32) + (a * sin_b).to(kind).to(tl.float32)
        to = result + token * out_token + heads * out_head + lanes
        tl.store(to, left.to(kind), mask=inside)
        tl.store(to + HALF, right.to(kind), mask=inside)
