import math

import pytest
import torch

from curate.contracts import Labels
from curate.models.passes.head import Head
from curate.train.objectives.next_token import NextToken


def test_a_two_way_guess_costs_log_two_a_token_times_its_weight():
    labels = Labels(torch.tensor([0, 1]), torch.tensor([0, 1]), ("x", "y"))
    loss = NextToken().loss(
        torch.ones(2, 3), Head(torch.zeros(2, 3)), labels, torch.tensor([1.0, 3.0])
    )
    assert float(loss.total.detach()) == pytest.approx(4 * math.log(2))
    assert loss.nll.tolist() == pytest.approx([math.log(2)] * 2)
