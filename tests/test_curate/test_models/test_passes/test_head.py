import math

import numpy as np
import pytest
import torch

from curate.models.passes import head as head_module
from curate.models.passes.head import Head, HeadWants, head_stats
from curate.scorers.donod import change_of_norm

ALL = HeadWants(entropy=True, grams=frozenset({True, False}))


def case(t, v=50, dim=16, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(v, dim, generator=rng, dtype=dtype) * 0.5
    hidden = torch.randn(t, dim, generator=rng, dtype=dtype)
    targets = torch.randint(v, (t,), generator=rng)
    end = torch.zeros(t, dtype=torch.bool)
    end[-1] = t > 1
    return weight, hidden, targets, end


def gradient(head, hidden, targets):
    """The head's gradient of the summed loss, by autograd over full logits."""
    weight = head.weight.clone().requires_grad_(True)
    logits = hidden @ weight.T
    if head.bias is not None:
        logits = logits + head.bias
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    torch.nn.functional.cross_entropy(logits, targets, reduction="sum").backward()
    return weight.grad


def test_two_tokens_by_hand():
    weight = torch.tensor([[math.log(3.0)], [0.0]], dtype=torch.float64)
    hidden = torch.ones(2, 1, dtype=torch.float64)  # probabilities 3/4 and 1/4
    (found,) = head_stats(
        Head(weight), hidden, torch.tensor([0, 1]), [torch.zeros(2, dtype=torch.bool)], ALL
    )
    assert found.nll.tolist() == pytest.approx([math.log(4 / 3), math.log(4)], abs=1e-15)
    spread = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert found.entropy.tolist() == pytest.approx([spread, spread], abs=1e-15)
    # Residuals (-1/4, 1/4) and (3/4, -3/4) add up to (1/2, -1/2): squared norm 1/2.
    assert float(found.sq_norm[True]) == pytest.approx(0.5, abs=1e-15)


def test_the_published_toy_case_of_donod():
    weight = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    hidden = torch.eye(2, dtype=torch.float64)
    (found,) = head_stats(
        Head(weight), hidden, torch.tensor([0, 2]), [torch.zeros(2, dtype=torch.bool)], ALL
    )
    assert found.nll.tolist() == pytest.approx([0.8619948] * 2, abs=1e-7)
    assert found.entropy.tolist() == pytest.approx([1.0173572] * 2, abs=1e-7)
    inner, sq_norm = float(found.inner.mean()), float(found.sq_norm[True]) / 4
    assert inner == pytest.approx(-0.15536240, abs=1e-8)
    assert sq_norm == pytest.approx(0.26810311, abs=1e-8)
    don, nod = change_of_norm(inner, sq_norm, 4.0, 0.1)
    assert don == pytest.approx(-0.00842065110, abs=1e-11)
    assert nod == pytest.approx(0.05177867392, abs=1e-11)


BIAS = torch.linspace(-1, 1, 50, dtype=torch.float64)
SHAPES = {
    "linear": {},
    "bias": {"bias": BIAS},
    "scale": {"scale": 0.25},
    "softcap": {"softcap": 2.0},
    "everything": {"bias": BIAS, "scale": 1.7, "softcap": 3.0},
}


@pytest.mark.parametrize("t", [1, 7, 500])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [2, 64, 4096])
def test_gradient_scalars_are_those_of_the_explicit_gradient(monkeypatch, t, shape, rows):
    """By Gram for few positions, directly for many, over whole examples and over vocabulary blocks."""
    monkeypatch.setattr(head_module, "CPU_CHUNK_ELEMENTS", rows * 50)
    monkeypatch.setattr(head_module, "CPU_MIN_ROWS", 1)
    weight, hidden, targets, end = case(t)
    head = Head(weight, **SHAPES[shape])
    (found,) = head_stats(head, hidden, targets, [end], ALL)
    for with_end in (True, False):
        keep = torch.ones_like(end) if with_end else ~end
        wanted = gradient(head, hidden[keep], targets[keep])
        assert float(found.sq_norm[with_end]) == pytest.approx(
            float(wanted.square().sum()), rel=1e-10
        )
        inner = float((weight * wanted).sum())
        assert float(found.inner[keep].sum()) == pytest.approx(inner, abs=1e-9, rel=1e-10)


def test_inner_product_is_nll_minus_entropy_for_a_linear_head():
    weight, hidden, targets, end = case(30)
    (found,) = head_stats(Head(weight), hidden, targets, [end], ALL)
    wanted = float((weight * gradient(Head(weight), hidden, targets)).sum()) / 30
    assert float((found.nll - found.entropy).mean()) == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize(("gap", "tolerance"), [(15.0, 0.01), (20.0, 0.1)])
def test_confident_tokens_keep_their_gradient_in_float32(gap, tolerance):
    v = 1000
    weight = torch.zeros(v, 1, dtype=torch.float64)
    weight[0] = gap
    hidden, targets = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])
    wanted = float(gradient(Head(weight), hidden, targets).square().sum())
    (found,) = head_stats(
        Head(weight.float()), hidden.float(), targets, [torch.zeros(1, dtype=torch.bool)], ALL
    )
    assert float(found.sq_norm[True]) == pytest.approx(wanted, rel=tolerance)


@pytest.mark.parametrize("rows", [1, 3, 8, 1000])
def test_any_chunk_size_gives_the_same_numbers(monkeypatch, rows):
    weight, hidden, targets, _ = case(40)
    sizes = [5, 1, 20, 3, 11]
    ends = list(torch.zeros(40, dtype=torch.bool).split(sizes))
    whole = head_stats(Head(weight), hidden, targets, ends, ALL)
    monkeypatch.setattr(head_module, "CPU_CHUNK_ELEMENTS", rows * 50)
    monkeypatch.setattr(head_module, "CPU_MIN_ROWS", 1)
    cut = head_stats(Head(weight), hidden, targets, ends, ALL)
    assert [len(one.nll) for one in cut] == sizes
    for a, b in zip(whole, cut, strict=True):
        for name in ("nll", "entropy", "inner"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-12, atol=1e-12)
        assert float(a.sq_norm[True]) == pytest.approx(float(b.sq_norm[True]), rel=1e-12)


def test_what_else_is_asked_for_changes_no_bit_of_the_likelihood():
    weight, hidden, targets, end = case(300, v=4096, dtype=torch.float32)
    ends = list(end.split([100, 200]))
    (alone, long_alone) = head_stats(Head(weight), hidden, targets, ends, HeadWants())
    (among, long_among) = head_stats(Head(weight), hidden, targets, ends, ALL)
    assert torch.equal(alone.nll, among.nll)
    assert torch.equal(long_alone.nll, long_among.nll)
    assert alone.entropy is None and alone.inner is None and not alone.sq_norm


def test_logits_are_never_computed_for_more_than_a_chunk(monkeypatch):
    seen = []
    project = Head.project

    def watch(self, hidden, block=slice(None)):
        raw = project(self, hidden, block)
        seen.append(raw.numel())
        return raw

    monkeypatch.setattr(Head, "project", watch)
    weight, hidden, targets, end = case(3000, v=1000)
    head_stats(Head(weight), hidden, targets, [end], ALL)
    assert max(seen) <= head_module.CPU_CHUNK_ELEMENTS
