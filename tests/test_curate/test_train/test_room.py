"""What a run takes of a card before it begins, and what is refused for it."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from mocked_card import MockedCard
from trained import make_rows

from curate.api.train import train_on
from curate.contracts.progress import SilentProgress
from curate.errors import ConfigError, DeviceError, MissingPackageError
from curate.models.load import resolve_model
from curate.train import eight_bit
from curate.train.api import train
from curate.train.checks import check_run
from curate.train.config import OptimiserConfig
from curate.train.recipes import build_config
from curate.train.room import TrainingRoom
from curate.train.steps.optimiser import make_optimiser, optimiser_tensors, restore_optimiser

GIB = 2**30


@pytest.fixture
def card(monkeypatch):
    return MockedCard(monkeypatch, 100)


def config(*, lora=False, **settings):
    made = build_config("m", {"compute.device": "cuda", **settings}, lora=lora)
    return made.resolved(has_chat_template=False)


@pytest.mark.parametrize(
    ("lora", "settings", "bytes_a_weight"),
    [
        (False, {}, 16), (False, {"compute.dtype": "float64"}, 32), (True, {}, 2),
        (True, {"compute.dtype": "float32"}, 4), (False, {"optimiser.eight_bit": "true"}, 10),
    ],
)  # fmt: skip
def test_a_run_keeps_so_many_bytes_a_weight(card, lora, settings, bytes_a_weight):
    assert TrainingRoom.of(1000, config(lora=lora, **settings)).total == 1000 * bytes_a_weight


def test_a_run_that_cannot_fit_is_refused_with_what_it_takes(card, tiny_model):
    small = resolve_model(str(tiny_model))
    check_run(config(), small)
    large = replace(small, name="org/big-7b", n_parameters=7 * GIB)
    with pytest.raises(DeviceError) as error:
        check_run(config(), large)
    assert str(error.value) == (
        "training 'org/big-7b' takes 112.0 GiB, but Mocked 1 has 80.0 (weights 28.0, gradients 28.0, "
        "optimiser 56.0, in GiB, and activations on top); try --lora, --set optimiser.eight_bit=true, a "
        "smaller model, or a card with more memory: a model is trained on one card"
    )
    check_run(config(lora=True), large)
    with pytest.raises(
        DeviceError, match=r"takes 120.0 GiB.*\(weights 120.0, in GiB.*try a smaller"
    ):
        check_run(config(lora=True), replace(large, n_parameters=60 * GIB))


def test_the_plan_says_what_a_run_keeps(tiny_model, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "two", "response": "four"}\n' * 3)
    plan = train_on(
        None, tmp_path / "out", model=str(tiny_model), selection=None, data=str(data), evaluate=(),
        record_trajectories=None, progress=SilentProgress(), dry_run=True,
        settings={"compute.device": "cpu", "data.batch_tokens": "8"},
    )  # fmt: skip
    n = resolve_model(str(tiny_model)).n_parameters
    assert plan["memory_gib"] == round(16 * n / GIB, 2)


def test_eight_bits_need_a_gpu_and_a_package(card, monkeypatch, tiny_model):
    small = resolve_model(str(tiny_model))
    asked = config(**{"optimiser.eight_bit": "true"})
    on_cpu = replace(asked, compute=replace(asked.compute, device="cpu"))
    with pytest.raises(ConfigError) as error:
        check_run(on_cpu, small)
    assert str(error.value) == (
        "optimiser.eight_bit needs a GPU, and the device is cpu; leave it out"
    )
    monkeypatch.setattr(eight_bit, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError) as error:
        check_run(asked, small)
    assert str(error.value) == (
        "optimiser.eight_bit needs the package bitsandbytes; type: pip install 'curate-sft[eight-bit]'"
    )


class AdamW8bit(torch.optim.Optimizer):
    """Keeps a count on the host, and moments in bytes, as that of bitsandbytes does."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state.setdefault("step", 0)
                state["step"] += 1
                state["state1"] = torch.full(p.shape, state["step"], dtype=torch.uint8)


def test_eight_bit_moments_are_saved_and_restored(monkeypatch):
    module = ModuleType("bitsandbytes.optim")
    module.AdamW8bit = AdamW8bit
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", module)
    settings = OptimiserConfig(eight_bit=True, weight_decay=0.1)
    parameters = {"w": torch.nn.Parameter(torch.ones(2, 2)), "b": torch.nn.Parameter(torch.ones(2))}
    made = make_optimiser(parameters, settings)
    assert [group["weight_decay"] for group in made.param_groups] == [0.1, 0.0]
    made.step()
    made.step()
    saved = optimiser_tensors(made, parameters)
    again = make_optimiser(parameters, settings)
    restore_optimiser(again, parameters, saved)
    for parameter in parameters.values():
        assert again.state[parameter]["step"] == 2 and type(again.state[parameter]["step"]) is int
        assert torch.equal(again.state[parameter]["state1"], made.state[parameter]["state1"])


def test_eight_bits_are_another_run_and_the_default_is_the_run_it_was():
    plain, small = (build_config("m", {"optimiser.eight_bit": on}) for on in ("false", "true"))
    assert "eight_bit" not in plain.identity()["optimiser"]
    assert small.identity()["optimiser"]["eight_bit"] is True


def test_a_checkpoint_is_due_by_time(tiny_llama, tmp_path):
    from curate.train.checkpoints import RunFolder

    def steps(name, **more):
        settings = {
            "compute.device": "cpu",
            "length.max_steps": "3",
            "data.batch_tokens": "256",
            **more,
        }
        train(build_config(str(tiny_llama), settings), make_rows(20), tmp_path / name)
        return RunFolder(tmp_path / name).steps()

    assert steps("end") == [3]
    assert steps("time", **{"watch.save_minutes": "1e-9", "watch.keep": "9"}) == [1, 2, 3]
    with pytest.raises(ConfigError, match="save_minutes must be a positive number, got 0"):
        build_config("m", {"watch.save_minutes": "0"})
