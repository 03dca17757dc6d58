"""Sampling that depends only on its key: Gumbel noise from a counter-based generator."""

import hashlib
from typing import Final

import torch
from torch import Tensor

NOISE_ELEMENTS: Final = 4_194_304  # noise drawn at once
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of SplitMix64
_WORD: Final = 1 << 64


def sample_key(seed: int, example_id: str, sample: int) -> int:
    """Return the key of one sample of one example, a signed 64-bit integer."""
    digest = hashlib.blake2b(f"{seed}\0{example_id}\0{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def gumbel_argmax(logits: Tensor, keys: Tensor, step: int | Tensor, temperature: float) -> Tensor:
    """Draw one token per row from ``softmax(logits / temperature)``; the argmax at temperature 0.

    The draw is the argmax of logits plus Gumbel noise, which has exactly that distribution. The
    noise of a row depends on its key, the step and the token alone: not on other rows, the batch
    or what was drawn before. float64.

    Parameters
    ----------
    logits
        (rows, V).
    keys
        One per row, int64, (rows,).
    step
        Tokens drawn before, from 0; one for all rows or one per row, int64, (rows,).
    """
    if temperature == 0:
        return logits.argmax(-1)
    rows = max(1, NOISE_ELEMENTS // logits.shape[1])
    streams = (
        keys + _signed((step + 1) * _GOLDEN)
        if isinstance(step, int)
        else (keys + (step + 1) * _signed(_GOLDEN))
    )
    return torch.cat(
        [
            (logits[n : n + rows].double() / temperature + _noise(streams[n : n + rows], logits))
            .argmax(-1)
            for n in range(0, len(logits), rows)
        ]
    )  # fmt: skip


def _noise(streams: Tensor, logits: Tensor) -> Tensor:
    stream = _mixed(streams)
    tokens = torch.arange(1, logits.shape[1] + 1, device=logits.device)
    bits = _mixed(stream[:, None] + tokens * _signed(_GOLDEN))
    uniform = (_shift(bits, 11).double() + 0.5) * 2.0**-53
    return -torch.log(-torch.log(uniform))


def _mixed(z: Tensor) -> Tensor:
    """Apply the finaliser of SplitMix64; int64 wraps around as unsigned integers do."""
    z = (z ^ _shift(z, 30)) * _signed(_MIX[0])
    z = (z ^ _shift(z, 27)) * _signed(_MIX[1])
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Shift right without the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    value %= _WORD
    return value - _WORD if value >= _WORD // 2 else value
