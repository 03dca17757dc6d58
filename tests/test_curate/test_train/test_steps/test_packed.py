import numpy as np
import pytest
import torch
from packed_training import gradient, trained

from curate.train.model import can_pack


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "gpt2"])
def test_rows_end_to_end_give_the_gradient_of_padded_rows(name):
    wanted, padded = gradient(trained(name), 120)
    for micro_tokens in (90, 10_000):
        found, packed = gradient(trained(name, packed=True), micro_tokens)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
        np.testing.assert_allclose(found.nll, wanted.nll, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(packed, padded, rtol=1e-3, atol=1e-6)
        assert found.padded_tokens < wanted.padded_tokens


def test_on_a_cpu_rows_are_padded():
    assert not can_pack(trained("llama", dtype="bfloat16"))
