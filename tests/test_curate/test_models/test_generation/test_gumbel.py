import hashlib

import numpy as np
import pytest
import torch
from drawing import WORD, slow_draw

from curate.models.generation.gumbel import gumbel_argmax, sample_key


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_draws_are_those_of_whole_number_arithmetic(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(20, 50)).astype(np.float32)
    keys = [sample_key(7, f"example {n}", n % 3) for n in range(20)]
    for step in (0, 1, 511):
        drawn = gumbel_argmax(torch.from_numpy(logits), torch.tensor(keys), step, temperature)
        slow = [
            slow_draw(row, key & WORD, step, temperature)
            for row, key in zip(logits, keys, strict=True)
        ]
        assert drawn.tolist() == slow


def test_a_key_is_a_hash_of_seed_example_and_number():
    digest = hashlib.blake2b(b"3\0abc\x001", digest_size=8).digest()
    assert sample_key(3, "abc", 1) == int.from_bytes(digest, "little", signed=True)
    keys = {sample_key(seed, i, n) for seed in (0, 1) for i in "ab" for n in range(5)}
    assert len(keys) == 20


def test_draws_follow_the_softmax():
    """40,000 draws from six probabilities: Pearson's statistic below its 99.9% quantile, 20.5."""
    probability = np.array([0.5, 0.25, 0.125, 0.0625, 0.05, 0.0125])
    n = 40_000
    keys = torch.tensor([sample_key(0, str(i // 5), i % 5) for i in range(n)])
    logits = torch.from_numpy(np.log(probability)).expand(n, 6)
    counts = np.bincount(gumbel_argmax(logits, keys, 3, 1.0).numpy(), minlength=6)
    assert ((counts - n * probability) ** 2 / (n * probability)).sum() < 20.5


def test_a_row_does_not_depend_on_the_others(monkeypatch):
    logits = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    keys = torch.tensor([sample_key(0, str(i), 0) for i in range(30)])
    whole = gumbel_argmax(logits, keys, 0, 1.0)
    assert [int(gumbel_argmax(logits[i : i + 1], keys[i : i + 1], 0, 1.0)) for i in range(30)] == (
        whole.tolist()
    )
    monkeypatch.setattr("curate.models.generation.gumbel.NOISE_ELEMENTS", 100)  # two rows at once
    assert gumbel_argmax(logits, keys, 0, 1.0).tolist() == whole.tolist()


def test_temperature_zero_is_the_argmax():
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    assert gumbel_argmax(logits, torch.tensor([5]), 0, 0.0).tolist() == [1]
