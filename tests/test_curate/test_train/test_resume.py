import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from forked import Forked
from safetensors.torch import load_file
from trained import make_rows

from curate.errors import ConfigError, InterruptedRunError, TrainError
from curate.registry import get, names
from curate.train.api import load_record, train
from curate.train.config import (
    SEAMS,
    LengthConfig,
    LoraConfig,
    MethodConfig,
    OptimiserConfig,
    WatchConfig,
)
from curate.train.data_config import DataConfig
from curate.train.mixtures.loss_proportional import LossProportional
from curate.train.objectives.dft import DFT
from curate.train.policies.drop_highest_loss import DropHighestLoss


def train_and_die(config, output, action, count):
    """Train; SIGKILL comes at the n-th call on a checkpoint's file."""
    inner, calls = getattr(os, action), 0

    def dying(*args, **kwargs):
        nonlocal calls
        calls += "step-" in str(args[0])
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*args, **kwargs)

    setattr(os, action, dying)
    rows = [*make_rows(40, 0, "a"), *make_rows(40, 1, "b")]
    train(config, rows, output, evaluation={"held": make_rows(9, 7)})


@pytest.fixture
def long_run(config):
    """Forty steps with a checkpoint after each third one."""
    return config(
        length=LengthConfig(max_steps=40),
        watch=WatchConfig(save_every=3, eval_every=10, keep=2),
    )


def run_until_killed(config, output, tmp_path, action, count):
    """Run in a process of its own that gets SIGKILL at its n-th call on a checkpoint's file."""
    job = Forked(train_and_die, config, output, action, count, folder=tmp_path)
    _, err = job.communicate(timeout=300)
    assert job.returncode == -signal.SIGKILL, err[-2000:]


def assert_same_run(one, other):
    first, second = load_record(one), load_record(other)
    assert first.run_id == second.run_id
    assert np.array_equal(first.history, second.history)
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in a)
    for x, y in zip(first.evaluations, second.evaluations, strict=True):
        assert x.as_dict() == y.as_dict()
        assert np.array_equal(x.nll, y.nll)


ALONE = {
    f"{kind} {name}": MethodConfig(**{kind: get(kind, name)()})
    for kind in SEAMS
    for name in names(kind)
}
TOGETHER = MethodConfig(
    objective=DFT(), policy=DropHighestLoss(2), mixture=LossProportional(period=5)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "action", "count"),
    [
        (MethodConfig(), "open", 30),  # while the sixth checkpoint or so is being synced
        *((one, "replace", 15) for one in ALONE.values() if one != MethodConfig()),
        (TOGETHER, "replace", 15),
    ],
    ids=["plain", *(name for name, one in ALONE.items() if one != MethodConfig()), "together"],
)
def test_killed_and_resumed_ends_in_the_same_bits(long_run, make, method, action, count, tmp_path):
    config = replace(long_run, method=method)
    rows = [*make.rows(40, 0, "a"), *make.rows(40, 1, "b")]
    held = {"held": make.rows(9, 7)}
    run_until_killed(config, tmp_path / "killed", tmp_path, action, count)
    saved = [p.name for p in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert any(name.startswith(".step-") for name in saved), "the kill left no half checkpoint"
    train(config, rows, tmp_path / "killed", evaluation=held)
    train(config, rows, tmp_path / "whole", evaluation=held)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    left = [p.name for p in (tmp_path / "killed" / "checkpoints").iterdir()]
    assert sorted(left) == ["step-00000039", "step-00000040"]


class Stop:
    """Progress that interrupts the process at a step."""

    def __init__(self, step):
        self.step, self.done = step, 0

    def start(self, stage, total, unit, done=0):
        pass

    def advance(self, stage, amount):
        self.done += amount
        if self.done == self.step:
            os.kill(os.getpid(), signal.SIGINT)

    def finish(self, stage):
        pass

    def note(self, text):
        pass


def test_sigint_saves_and_the_same_call_goes_on(config, rows, tmp_path):
    with pytest.raises(
        InterruptedRunError,
        match=r"interrupted after step 2 of 4; saved in .*step-00000002; rerun the same",
    ):
        train(config(), rows, tmp_path / "run", progress=Stop(2))
    train(config(), rows, tmp_path / "run")
    train(config(), rows, tmp_path / "whole")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_finished_run_is_not_trained_again(config, rows, tmp_path):
    first = train(config(), rows, tmp_path / "run", evaluation={"same": rows[:5]})
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    again = train(config(), rows, tmp_path / "run", evaluation={"same": rows[:5]})
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before
    assert again.run_id == first.run_id
    assert np.array_equal(again.history, first.history)
    assert np.array_equal(again.final("same").nll, first.final("same").nll)
    assert again.final("same").ids == first.final("same").ids


@pytest.mark.parametrize("lora", [None, LoraConfig(r=2)], ids=["full", "lora"])
def test_a_finished_run_is_evaluated_on_new_sets_only(config, rows, make, lora, tmp_path):
    settings = config(method=MethodConfig(lora))
    held, other = make.rows(6, seed=8), make.rows(7, seed=9)
    first = train(settings, rows, tmp_path / "run", evaluation={"held": held})
    both = train(settings, rows, tmp_path / "run", evaluation={"held": held, "other": other})
    assert both.history.tobytes() == first.history.tobytes()
    assert np.array_equal(both.final("held").nll, first.final("held").nll)
    whole = train(settings, rows, tmp_path / "whole", evaluation={"held": held, "other": other})
    assert np.array_equal(both.final("other").nll, whole.final("other").nll)
    again = load_record(tmp_path / "run")
    assert again.final("other").ids == both.final("other").ids
    swapped = train(settings, rows, tmp_path / "run", evaluation={"held": other})
    assert swapped.final("held").ids == whole.final("other").ids


def test_changed_settings_are_named(config, rows, tmp_path):
    train(config(), rows, tmp_path / "run")
    changed = config(
        optimiser=OptimiserConfig(lr=1e-3), data=DataConfig(batch_tokens=900, micro_tokens=512)
    )
    with pytest.raises(ConfigError) as caught:
        train(changed, rows, tmp_path / "run")
    assert "data.batch_tokens was 1024 and is now 900" in str(caught.value)
    assert "optimiser.lr was 0.003 and is now 0.001" in str(caught.value)
    assert "seed" not in str(caught.value)
    with pytest.raises(ConfigError, match="rows was"):
        train(config(), rows[:60], tmp_path / "run")


def test_the_size_of_a_forward_pass_may_change(config, rows, tmp_path):
    train(config(), rows, tmp_path / "run")
    other = config(data=DataConfig(batch_tokens=1024, micro_tokens=300))
    assert train(other, rows, tmp_path / "run").outcome["steps"] == 4


def test_a_folder_with_something_else_is_refused(config, rows, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"exists and holds something else \(notes.txt\)"):
        train(config(), rows, tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        train(config(), rows, tmp_path / "notes.txt")


def test_a_checkpoint_of_other_shapes_is_refused(config, rows, tmp_path):
    saving = config(watch=WatchConfig(save_every=2))
    with pytest.raises(InterruptedRunError):
        train(saving, rows, tmp_path / "run", progress=Stop(2))
    path = tmp_path / "run" / "checkpoints" / "step-00000002" / "weights.safetensors"
    from safetensors.torch import save_file

    weights = load_file(path)
    weights["model.norm.weight"] = torch.ones(7)
    save_file(weights, path)
    with pytest.raises(TrainError, match=r"'model.norm.weight' has shape \(7,\) there and \(16,\)"):
        train(saving, rows, tmp_path / "run")
    path.write_bytes(b"half")
    with pytest.raises(TrainError, match="is damaged .* delete that folder"):
        train(saving, rows, tmp_path / "run")
