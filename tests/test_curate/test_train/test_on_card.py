"""What a training run asks of a GPU alone, with a card that is mocked."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from mocked_card import GIB, MockedCard
from noted import Noted
from on_card import OnCard, on_card
from packed_training import trained
from random_models import random_causal
from two_cards import two_cards

from curate.train import model as model_module
from curate.train.config import LoraConfig
from curate.train.loop import Loop
from curate.train.model import can_pack
from curate.train.recipes import build_config
from curate.train.record import energy_j, peak_bytes
from curate.train.steps.optimiser import make_optimiser, moment_bytes, restore_optimiser

__all__ = ["on_card", "two_cards"]  # fixtures

CUDA = torch.device("cuda")


@pytest.fixture
def card(monkeypatch):
    return MockedCard(monkeypatch, 100)


def test_a_model_in_bfloat16_is_asked_whether_it_packs_as_it_will_train(card, monkeypatch):
    asked, flaws = [], ["attention with sinks", None]

    def flaw(model):
        asked.append((torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")))
        assert model.dtype == "bfloat16" and not model.head.weight.requires_grad
        return flaws.pop(0)

    monkeypatch.setattr(model_module, "packing_flaw", flaw)
    model = replace(trained("llama"), device=CUDA, dtype="bfloat16")
    assert [can_pack(model), can_pack(model)] == [False, True]
    assert asked == [(True, torch.bfloat16)] * 2
    assert not can_pack(replace(model, dtype="float32")) and len(asked) == 2


def test_an_adapter_is_drawn_without_a_trace_in_the_cards_random_numbers(on_card, monkeypatch):
    happened = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: happened.append(device) or "s")
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: happened.append((state, device))
    )
    model = random_causal("llama")
    monkeypatch.setattr(type(model), "device", property(lambda self: CUDA))
    before = torch.get_rng_state()
    model_module._with_lora(model, model.lm_head, LoraConfig(r=2), 0)
    assert happened == [CUDA, ("s", CUDA)] and torch.equal(torch.get_rng_state(), before)


def test_passes_are_as_large_as_the_card_holds_beside_the_moments():
    tried, said = [], Noted()
    parameters = {"w": torch.nn.Parameter(torch.ones(7, 3))}
    config = build_config("m", {"data.batch_tokens": "40000", "data.micro_tokens": "1024"})
    whole = torch.nn.Linear(1, 1).eval()
    maker = SimpleNamespace(
        micro_tokens=1_024, fits=lambda tokens, more: tried.append((tokens, more)) or tokens <= 4_096
    )  # fmt: skip
    run = SimpleNamespace(
        config=config, _maker=maker, _parameters=parameters, progress=said,
        model=SimpleNamespace(whole=whole), processes=SimpleNamespace(device=CUDA, count=2),
    )  # fmt: skip
    found = Loop.fit_passes(run)
    assert (found.data.micro_tokens, maker.micro_tokens) == (4_096, 4_096)
    assert found.data.batch_tokens == 40_000 and whole.training
    more = moment_bytes(parameters, config.optimiser)
    assert tried == [(16_384, more), (8_192, more), (4_096, more)]  # of 20,000 for each process
    assert said.said == ["forward passes of 4,096 tokens, by the memory of the GPU"]


def test_the_peak_of_a_run_is_that_of_its_own_card(monkeypatch):
    held = {"cuda:0": GIB, "cuda:1": 3 * GIB}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held[str(device)])
    assert peak_bytes(torch.device("cuda:1")) == 3 * GIB


class NVMLError(Exception):
    """As the driver's library raises it."""


def test_energy_is_that_of_the_card_with_the_uuid_torch_says(card, monkeypatch):
    ids = {0: "aa-0", 1: "bb-1"}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=ids[device.index])
    )
    driver = ModuleType("pynvml")
    driver.NVMLError, driver.nvmlInit = NVMLError, lambda: None
    driver.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    used = {"GPU-aa-0": 1_500, "GPU-bb-1": 2_500}
    driver.nvmlDeviceGetTotalEnergyConsumption = used.__getitem__
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert [energy_j(torch.device("cuda", n)) for n in (0, 1)] == [1.5, 2.5]

    def old(handle):
        raise NVMLError("not supported")

    driver.nvmlDeviceGetTotalEnergyConsumption = old
    assert energy_j(torch.device("cuda", 0)) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_j(torch.device("cuda", 0)) is None


def test_the_update_is_one_kernel_if_all_weights_are_on_the_card():
    settings = build_config("m", {}).optimiser
    there, here = (
        torch.nn.Parameter(values) for values in (torch.ones(2, 2).as_subclass(OnCard), torch.ones(2))
    )  # fmt: skip
    assert make_optimiser({"w": there}, settings).defaults["fused"]
    assert not make_optimiser({"w": there, "b": here}, settings).defaults["fused"]


def test_a_checkpoints_moments_and_steps_go_to_the_card_of_their_weight(two_cards):
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))])
    weights = {"a": torch.ones(2).to("cuda:0"), "b": torch.ones(2).to("cuda:1"), "c": torch.ones(2)}
    saved = {
        f"{name}:{slot}": torch.zeros(2) if slot == "exp_avg" else torch.tensor(3.0)
        for name in weights
        for slot in ("step", "exp_avg")
    }
    restore_optimiser(optimiser, weights, saved)
    lie = {
        name: {str(value.device) for value in optimiser.state[weight].values()}
        for name, weight in weights.items()
    }
    assert lie == {"a": {"cuda:0"}, "b": {"cuda:1"}, "c": {"cpu"}}
