"""Weights on a card: which one is current, whether they fit, and how they get there."""

import pytest
import torch
from mocked_card import MockedCard

from curate.errors import DeviceError
from curate.models import load
from curate.models.load import load_causal
from curate.models.pretrained import read_pretrained
from curate.models.room import cards_of, check_room, lack_of_room, name_of, use_device


@pytest.fixture
def card(monkeypatch):
    return MockedCard(monkeypatch, 100)


class Auto:
    """Keeps how a model was asked for."""

    asked: dict = {}  # noqa: RUF012

    @classmethod
    def from_pretrained(cls, folder, **options):
        cls.asked = options
        return "model", {}


def test_weights_go_to_a_gpu_as_they_are_read():
    read_pretrained(Auto, "m", "folder", "bfloat16", "a model", device="cuda:1")
    assert Auto.asked["device_map"] == {"": "cuda:1"} and Auto.asked["dtype"] is torch.bfloat16
    by_module = {"model.layers.0": "cuda:0", "model.layers.1": "cuda:1"}
    read_pretrained(Auto, "m", "folder", "float32", "a model", device=by_module)
    assert Auto.asked["device_map"] == by_module
    read_pretrained(Auto, "m", "folder", "float32", "a model")
    assert "device_map" not in Auto.asked


def test_a_numbered_gpu_is_the_current_one(card):
    for device in ("cpu", "cuda", "cuda:1", "cuda:2,3"):
        use_device(device)
    assert card.current == ["cuda:1", "cuda:2"]


def test_several_cards_have_one_name():
    for device, cards in {
        "cuda:2,3": ("cuda:2", "cuda:3"),
        "cuda:0": ("cuda:0",),
        "cpu": ("cpu",),
    }.items():
        assert cards_of(device) == cards
        assert name_of(cards) == device


def test_weights_that_do_not_fit_are_not_read(card, tiny_model, monkeypatch):
    assert lack_of_room(80 * 2**30, "cuda") is None
    assert lack_of_room(2**60, "cpu") is None
    monkeypatch.setattr("curate.models.room.count_parameters", lambda folder: 70 * 2**30)
    with pytest.raises(DeviceError) as error:
        load_causal("org/big-70b", str(tiny_model), None, "cuda:0", "float32")
    assert str(error.value) == (
        "the weights of model 'org/big-70b' in float32 take 280.0 GiB, but Mocked 1 has 80.0; give --dtype "
        "bfloat16, a smaller model, or a card with more memory: a model runs on one card"
    )
    check_room("m", str(tiny_model), "float32", "cpu")
    MockedCard(monkeypatch, 100, n=2)
    with pytest.raises(
        DeviceError, match="memory: only for scorers of a forward pass, with --device"
    ):
        check_room("org/big-70b", str(tiny_model), "bfloat16", "cuda:1")


@pytest.mark.parametrize(("adapter", "device"), [(None, "cuda:0"), ("folder", "cpu")])
def test_an_adapter_is_merged_before_the_model_goes_to_its_card(
    card, tiny_model, monkeypatch, adapter, device
):
    read = []

    class Model:
        def to(self, device):
            return self

        eval = requires_grad_ = lambda self, *args: self

    monkeypatch.setattr(load, "read_causal", lambda *args: read.append(args[-1]) or Model())
    monkeypatch.setattr(load, "merge_adapter", lambda model, adapter: model)
    load_causal("m", str(tiny_model), adapter, "cuda:0", "float32")
    assert read == [device]
