"""Random signs that project long gradients to few numbers, made again wherever they are needed."""

import math
from typing import Final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

BLOCK: Final = 1_024  # entries whose signs are drawn together: part of what a projection is
_BITS: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
_SIGNS: Final = torch.from_numpy(_BITS.astype(np.int8) * 2 - 1)  # the eight of each byte


def project(gradients: Tensor, dim: int, *, seed: int, number: int) -> Tensor:
    """Multiply rows by a matrix of random signs, scaled by 1 / sqrt(dim): (rows, size) to (rows, dim).

    Inner products of projected rows are those of the rows, up to a standard deviation of about
    1 / sqrt(dim) of the product of their lengths. Signs depend on ``seed``, ``number`` (which matrix of the
    model), the place and ``dim`` alone: on neither the rows nor the device. O(rows size dim) time, and
    O(size dim) to draw the signs, at every call: as long as about twenty rows take, so give many at
    once. Signs of 1,024 entries are in memory at a time.
    """
    rows, size = gradients.shape
    result = gradients.new_zeros((rows, dim))
    of_byte = _SIGNS.to(gradients)
    width = -(-dim // 8)
    drawn = gradients.new_empty((min(size, BLOCK) * width, 8))  # one for all blocks: pages are slow
    for block, start in enumerate(range(0, size, BLOCK)):
        part = gradients[:, start : start + BLOCK]
        packed = torch.from_numpy(_packed(part.shape[1], width, (seed, number, block)))
        here = drawn[: packed.numel()]
        torch.index_select(of_byte, 0, packed.flatten().to(gradients.device).int(), out=here)
        result += part @ here.view(part.shape[1], 8 * width)[:, :dim]
    return result / math.sqrt(dim)


def signs(size: int, dim: int, key: tuple[int, int, int]) -> Tensor:
    """Return a matrix of -1 and 1, (size, dim), drawn from a key on the CPU."""
    bits = np.unpackbits(_packed(size, -(-dim // 8), key), axis=1, count=dim)
    return torch.from_numpy(bits.astype(np.int8) * 2 - 1)


def _packed(size: int, width: int, key: tuple[int, int, int]) -> UInt8[np.ndarray, "size width"]:
    """Return the signs of the first entries of a block, eight in a byte."""
    n_bytes = size * width
    words = np.random.PCG64(key).random_raw(-(-n_bytes // 8))
    return words.astype("<u8").view(np.uint8)[:n_bytes].reshape(size, width)
