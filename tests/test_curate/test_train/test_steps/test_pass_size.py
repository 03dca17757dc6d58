"""How large a forward pass of training may be on a card."""

import numpy as np
import pytest
import torch
from mocked_card import GIB, MockedCard
from packed_training import trained
from random_models import random_rows
from trained import make_rows

from curate.contracts import Example
from curate.train import loop
from curate.train.api import train
from curate.train.config import OptimiserConfig
from curate.train.data import Prepared, TrainRow
from curate.train.objectives.next_token import NextToken
from curate.train.processes import Processes
from curate.train.recipes import build_config
from curate.train.steps.optimiser import moment_bytes
from curate.train.steps.pass_size import pass_size
from curate.train.steps.step import GradientMaker


@pytest.mark.parametrize(
    ("room", "batch", "size", "tries"),
    [
        (10**9, 16_384, 16_384, 1), (10**9, 10**6, 32_768, 1), (9_000, 10**6, 8_192, 3),
        (1, 16_384, 4_096, 2), (10**9, 5_000, 4_096, 0), (10**9, 100, 4_096, 0),
    ],
)  # fmt: skip
def test_the_most_that_fit_and_that_a_step_has(room, batch, size, tries):
    tried = []
    assert pass_size(lambda n: tried.append(n) or n <= room, 4_096, batch) == size
    assert len(tried) == tries


def maker(packed):
    rows = random_rows(12)
    examples = [TrainRow(f"{n:032x}", Example(f"{n:032x}", ())) for n in range(len(rows))]
    model = trained("llama", packed=packed)
    return GradientMaker(model, Prepared(examples, rows), NextToken(), Processes.join("cpu"), 64, 0)


@pytest.mark.parametrize(("packed", "n"), [(True, 3), (False, 2)])
def test_the_longest_rows_are_tried_and_leave_nothing(monkeypatch, packed, n):
    MockedCard(monkeypatch, 100)
    made, tried = maker(packed), []
    original = type(made)._backward
    lengths = np.sort(made._lengths)[::-1]

    def backward(self, rows, normaliser):
        tried.append(sorted(self._lengths[rows].tolist(), reverse=True))
        return original(self, rows, normaliser)

    monkeypatch.setattr(type(made), "_backward", backward)
    tokens = int(lengths[:3].sum())
    assert made.fits(tokens, 50 * GIB)  # 10 GiB are used, and 63 of 70 may be
    assert tried == [lengths[:n].tolist()]
    assert all(parameter.grad is None for parameter in made._parameters)
    assert not made.fits(tokens, 60 * GIB)

    def full(self, rows, normaliser):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(made), "_backward", full)
    assert not made.fits(tokens, 0)


def test_moments_are_what_the_optimiser_will_keep():
    parameters = {"w": torch.nn.Parameter(torch.ones(10)), "v": torch.nn.Parameter(torch.ones(5))}
    assert moment_bytes(parameters, OptimiserConfig()) == 15 * 2 * 4
    assert moment_bytes(parameters, OptimiserConfig(eight_bit=True)) == 15 * 2


def test_a_run_sizes_its_passes_unless_they_are_given(tiny_llama, tmp_path, monkeypatch):
    asked = []

    def fit(self):
        asked.append(self.config.data.micro_tokens)
        data = {**self.config.as_dict()["data"], "micro_tokens": 777}
        return build_config("m", {f"data.{k}": v for k, v in data.items() if v is not None})

    monkeypatch.setattr(loop.Loop, "fit_passes", fit)
    settings = {"compute.device": "cpu", "length.max_steps": "1", "data.batch_tokens": "256"}
    record = train(build_config(str(tiny_llama), settings), make_rows(9), tmp_path / "a")
    assert asked == [2_048] and record.config["settings"]["data"]["micro_tokens"] == 777
    given = build_config(str(tiny_llama), settings | {"data.micro_tokens": "64"})
    train(given, make_rows(9), tmp_path / "b")
    assert len(asked) == 1


def test_on_a_cpu_the_size_stays(tiny_llama, tmp_path):
    settings = {"compute.device": "cpu", "length.max_steps": "1", "data.batch_tokens": "256"}
    record = train(build_config(str(tiny_llama), settings), make_rows(9), tmp_path / "a")
    assert record.config["settings"]["data"]["micro_tokens"] == 2_048
