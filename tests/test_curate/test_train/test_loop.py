import numpy as np
import torch
from safetensors.torch import load_file

from curate.train.api import train


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_two_runs_are_equal_bit_for_bit(config, rows, tmp_path):
    first = train(config(), rows, tmp_path / "a")
    second = train(config(), list(reversed(rows)), tmp_path / "b")
    assert first.run_id == second.run_id
    assert np.array_equal(first.history, second.history)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_training_lowers_the_loss(config, rows, tmp_path):
    record = train(config(), rows, tmp_path / "run", evaluation={"same": rows})
    assert record.losses[-1] < record.losses[0]
    assert len(record.losses) == 4
    assert record.final("same").mean_nll < record.history[0, 1]
