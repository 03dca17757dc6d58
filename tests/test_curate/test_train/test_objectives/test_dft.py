import math

import pytest
import torch

from curate.contracts import Labels
from curate.models.passes.head import Head
from curate.train.objectives.dft import DFT


@pytest.fixture
def batch():
    """Hidden states that are logits, by a head of ones: three tokens, two positions."""
    hidden = torch.tensor([[0.2, -1.0, 0.7], [3.0, 0.1, -2.0]], dtype=torch.float64)
    labels = Labels(torch.tensor([2, 1]), torch.tensor([0, 0]), ("x",))
    return hidden.requires_grad_(), Head(torch.eye(3, dtype=torch.float64)), labels


def test_a_two_way_guess_costs_half_its_nll():
    labels = Labels(torch.tensor([0, 1]), torch.tensor([0, 0]), ("x",))
    loss = DFT().loss(torch.ones(2, 3), Head(torch.zeros(2, 3)), labels, torch.ones(2))
    assert float(loss.total.detach()) / 2 == pytest.approx(0.34657359)
    assert loss.nll.tolist() == pytest.approx([math.log(2)] * 2)


def test_the_weight_is_the_softmax_of_the_target(batch):
    hidden, head, labels = batch
    weights = torch.tensor([1.0, 2.5], dtype=torch.float64)
    loss = DFT().loss(hidden, head, labels, weights)
    p = hidden.detach().softmax(-1).gather(1, labels.targets[:, None])[:, 0]
    assert float(loss.total.detach()) == pytest.approx(
        float((weights * -p * p.log()).sum()), abs=1e-14
    )


def test_no_gradient_goes_through_the_weight(batch):
    hidden, head, labels = batch
    loss = DFT().loss(hidden, head, labels, torch.ones(2, dtype=torch.float64))
    [gradient] = torch.autograd.grad(loss.total, hidden)
    p = hidden.detach().softmax(-1)
    target = torch.nn.functional.one_hot(labels.targets, 3)
    by_hand = (p * target).sum(-1, keepdim=True) * (p - target)  # p_y times d CE / d logits
    assert torch.allclose(gradient, by_hand, atol=1e-14)
