"""The programs of the GPU kernel, run one after the other: their numbers, and what they touch."""

import pytest
import torch
from stub_triton import AccessError, Pointer, interpreted

from curate.models.passes import head_kernel

OPTIONS = ({}, {"scale": 0.5}, {"softcap": 30.0}, {"bias": True, "softcap": 20.0})


@pytest.fixture
def kernel(monkeypatch):
    """Return the module of the kernel, in blocks of 64 of the vocabulary."""
    made = interpreted(monkeypatch, head_kernel)
    monkeypatch.setattr(made, "BLOCK", 64)
    return made


def inputs(vocabulary, dtype, rows=5):
    made = torch.Generator().manual_seed(0)
    raw = (torch.randn(rows, vocabulary, generator=made) * 6).to(dtype)
    targets = torch.randint(0, vocabulary, (rows,), generator=made)
    targets[0], targets[1] = 0, vocabulary - 1
    return raw, targets, torch.randn(vocabulary, generator=made).to(dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "scaled", "capped", "biased"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("vocabulary", [3, 64, 300])
def test_each_row_is_what_log_softmax_gives_in_double(kernel, vocabulary, dtype, options):
    raw, targets, bias = inputs(vocabulary, dtype)
    options = options | ({"bias": bias} if "bias" in options else {})
    found = kernel.row_statistics(raw, targets, **options)
    logits = raw.double() + (bias.double() if "bias" in options else 0.0)
    logits = logits * options.get("scale", 1.0)
    if "softcap" in options:
        logits = options["softcap"] * torch.tanh(logits / options["softcap"])
    logp = torch.log_softmax(logits, dim=1)
    wanted = (
        -logp.gather(1, targets[:, None]).squeeze(1),
        -(logp.exp() * logp).sum(1),
        torch.logsumexp(logits, dim=1),
    )
    for one, exact in zip(found, wanted, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), exact, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_logits_become_their_gradient_and_nothing_cancels_at_a_sure_target(kernel, dtype):
    raw, targets, _ = inputs(300, dtype)
    raw[2, targets[2]] = raw[2].max() + 12  # a loss of about 1e-5
    exact = torch.softmax(raw.double(), 1)
    exact.scatter_add_(1, targets[:, None], -torch.ones(5, 1, dtype=torch.float64))
    rest = raw.double().masked_fill(torch.nn.functional.one_hot(targets, 300) == 1, -torch.inf)
    sure = -torch.special.expit(rest.logsumexp(1) - raw.double().gather(1, targets[:, None])[:, 0])
    nll, _, log_total = kernel.row_statistics(raw, targets)
    kernel.to_residuals(raw, targets, nll, log_total)
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(raw.double(), exact, rtol=rounding, atol=1e-6)
    at_target = raw.double().gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(at_target[[0, 1, 3, 4]], sure[[0, 1, 3, 4]], rtol=rounding, atol=0)
    assert at_target[2] == pytest.approx(
        float(sure[2]), rel=0.2
    )  # float32 has two digits of it left


def test_no_rows_are_no_program(kernel):
    raw, targets, _ = inputs(300, torch.float32, rows=2)
    assert [len(one) for one in kernel.row_statistics(raw[:0], targets[:0])] == [0, 0, 0]
    nothing = torch.zeros(0)
    kernel.to_residuals(raw[:0], targets[:0], nothing, nothing)
    assert kernel.available()


def test_a_program_that_leaves_its_tensor_is_seen():
    row = Pointer(torch.zeros(4), torch.arange(3, 6))
    assert row.inside(torch.tensor([True, False, False])).tolist() == [True, False, False]
    with pytest.raises(AccessError, match="place 5 of 4"):
        row.inside(None)
