import numpy as np
import pytest
import torch
from torch import nn

from curate.models.passes import adapter_gradients
from curate.models.passes.adapter_gradients import AdapterGradients, Moments
from curate.models.passes.head import Head
from curate.models.passes.projection import project
from curate.models.text.render import Rendered

DIM = 24


def test_the_direction_is_that_of_adam_with_its_own_settings():
    first, second, gradient = (torch.tensor([[x]], dtype=torch.float64) for x in (1.0, 4.0, 2.0))
    shaped = Moments(first, second, betas=(0.5, 0.75), eps=12.0).shaped(gradient[None])
    assert shaped.item() == pytest.approx((0.5 + 1.0) / (3.0 + 1.0 + 12.0) ** 0.5)


def row_of(length, seed):
    ids = np.random.default_rng(seed).integers(0, 11, length)
    positions = np.arange(1, length - 1)
    is_end = np.zeros(len(positions), dtype=bool)
    return Rendered(ids, positions, ids[positions + 1], is_end, False, len(positions))


@pytest.fixture
def small():
    """Two linear layers after an embedding, batches of their rows, and moments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embed, first, second = nn.Embedding(11, 6), nn.Linear(6, 40), nn.Linear(40, 6)
        head = Head(torch.randn(11, 6).double())
    modules = {"first": first, "second": second}
    body = nn.Sequential(embed, first, nn.Tanh(), second).double()
    moments = {
        name: Moments(module.weight.detach() / 9, module.weight.detach() ** 2, (0.9, 0.999), 1e-8)
        for name, module in modules.items()
    }
    rows = [row_of(length, seed) for seed, length in enumerate((9, 9, 7, 5, 5, 4))]
    batches = [
        (part, [np.ones(len(row.positions), dtype=bool) for row in part])
        for part in (rows[:2], rows[2:3], rows[3:])
    ]
    return AdapterGradients(body, head, modules, DIM, 5), batches, moments


def one_by_one(gradients, batches, moments):
    for rows, _ in batches:
        for row in rows:
            states = gradients.hidden(torch.from_numpy(row.ids)[None])[0]
            logits = states[row.positions] @ gradients.head.weight.T
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(row.targets))
            weights = [module.weight for module in gradients.modules.values()]
            both = torch.zeros(2, DIM, dtype=torch.float64)
            own = torch.autograd.grad(loss, weights)
            for number, (name, gradient) in enumerate(zip(gradients.modules, own, strict=True)):
                directions = torch.stack([moments[name].shaped(gradient), gradient]).flatten(1)
                both += project(directions, DIM, seed=5, number=number)
            yield both / both.norm(dim=1, keepdim=True)


def test_gradients_are_those_of_each_row_alone_however_many_are_projected_together(
    small, monkeypatch
):
    gradients, batches, moments = small
    wanted = torch.stack(list(one_by_one(gradients, batches, moments)), dim=1)
    a_row = 8 * sum(module.weight.numel() for module in gradients.modules.values())
    together = []
    monkeypatch.setattr(
        adapter_gradients, "project",
        lambda rows, *args, **named: together.append(len(rows) // 2) or project(rows, *args, **named),
    )  # fmt: skip
    for rows_at_once, groups in ((100, [6]), (3, [3, 3]), (1, [2, 1, 3])):
        monkeypatch.setattr(adapter_gradients, "HELD_BYTES", rows_at_once * a_row)
        together.clear()
        found = gradients.run(batches, moments)
        assert together[:: len(gradients.modules)] == groups
        torch.testing.assert_close(torch.stack(found), wanted, rtol=0, atol=1e-12)


def test_no_batch_has_no_gradient(small):
    gradients, _, moments = small
    assert [tuple(part.shape) for part in gradients.run([], moments)] == [(0, DIM), (0, DIM)]
