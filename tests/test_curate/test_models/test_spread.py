"""A model over several cards: where its layers lie, that they run there, and what does not fit."""

import numpy as np
import pytest
import torch
from accelerate.utils.modeling import check_device_map
from mocked_card import GIB, MockedCard
from random_models import CONFIGS, EVERYTHING, assert_close, random_causal, random_groups
from transformers import AutoConfig, AutoModelForCausalLM
from two_cards import MixedError, two_cards

from curate.errors import DeviceError, ModelError
from curate.models import spread
from curate.models.load import LoadedModel, ResolvedModel, load_causal, take_apart
from curate.models.passes.forward import Forward
from curate.models.passes.packing import Boundaries, Keys, packing_flaw
from curate.models.passes.sharing import sharing_flaw

__all__ = ["two_cards"]  # a fixture

CARDS = ("cuda:0", "cuda:1")
WAYS = {"padded": {}, "end to end": {"packed": True}, "shared": {"shared": True}}


def loaded(model, folder, name, cards=(), dtype="float32"):
    backbone, head = take_apart(name, model, dtype)
    resolved = ResolvedModel(name, str(folder), None, name, name, None, None, 512, None)
    device = str(model.get_input_embeddings().weight.device)
    return LoadedModel(resolved, backbone, head, None, device, dtype, cards)


def by_batch(found):
    return [measured for _, _, measured in found]


@pytest.mark.parametrize("name", ["llama", "olmo2", "cohere", "gemma"])
def test_scores_are_those_of_one_device_and_leave_in_one_copy_a_batch(two_cards, tmp_path, name):
    model = random_causal(name)
    model.save_pretrained(tmp_path)
    alone = loaded(model, tmp_path, name)
    rows = random_groups()
    batches = [rows[:6], rows[6:]]
    wanted = by_batch(Forward(alone).run_all(batches, EVERYTHING))
    over = loaded(
        spread.load_spread(name, str(tmp_path), None, CARDS, "float32"), tmp_path, name, CARDS
    )
    lies = {str(weight.device) for weight in over.backbone.parameters()}
    assert (lies, over.place) == (set(CARDS), "cuda:0,1")
    for way in WAYS.values():
        two_cards.moved.clear()
        found = by_batch(Forward(over, **way).run_all(batches, EVERYTHING))
        assert_close(wanted, found)
        for a, b in zip(wanted, found, strict=True):
            np.testing.assert_allclose(b.nll, a.nll, atol=1e-5)
        assert len([move for move in two_cards.moved if move[1] == "cpu"]) == len(batches)
    assert packing_flaw(over) is None and sharing_flaw(over) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_over_real_cards_are_those_of_one(tmp_path, dtype):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    random_causal("llama").save_pretrained(tmp_path)
    rows, name = random_groups(), str(tmp_path)
    alone = loaded(load_causal("m", name, None, "cuda:0", dtype), name, "m", dtype=dtype)
    over = loaded(spread.load_spread("m", name, None, CARDS, dtype), name, "m", CARDS, dtype)
    for way in [{}, {"shared": True}, *([{"packed": True}] if dtype == "bfloat16" else [])]:
        found = [by_batch(Forward(one, **way).run_all([rows], EVERYTHING)) for one in (alone, over)]
        assert_close(*found)


def test_tensors_of_two_cards_do_not_meet(two_cards):
    here, there = (torch.ones(3).to(card) for card in CARDS)
    for other in (there, torch.ones(3)):
        with pytest.raises(MixedError, match="add of (cpu and )?cuda:0( and cuda:1)?"):
            _ = here + other
    assert (here + there.to("cuda:0") + torch.tensor(1.0)).device == torch.device("cuda:0")
    assert two_cards.moved[-1] == ("cuda:1", "cuda:0", (3,))


def test_boundaries_are_copied_once_to_each_card(two_cards):
    keys = Keys(torch.arange(5).to("cuda:0"), torch.tensor([0, 5]).to("cuda:0"), (5,))
    rows = Boundaries(torch.tensor([0, 3]).to("cuda:0"), (3,), keys)
    there = rows.on(torch.device("cuda:1"))
    assert rows.on(torch.device("cuda:0")) is rows
    assert {str(t.device) for t in (there.starts, there.keys.starts, there.keys.places)} == {
        "cuda:1"
    }
    assert rows.on(torch.device("cuda:1")) is there


def test_an_adapter_is_merged_before_the_layers_are_dealt(two_cards, tmp_path, monkeypatch):
    model = random_causal("llama")
    model.save_pretrained(tmp_path)
    merged = []

    def merge(model, adapter):
        assert {str(weight.device) for weight in model.parameters()} == {"cpu"}
        merged.append(adapter)
        return model

    monkeypatch.setattr(spread, "merge_adapter", merge)
    over = spread.load_spread("m", str(tmp_path), "adapter", CARDS, "float32")
    assert merged == ["adapter"]
    assert {str(weight.device) for weight in over.parameters()} == set(CARDS)
    ids = torch.arange(9)[None]
    with torch.inference_mode():
        wanted = model(input_ids=ids, use_cache=False).logits
        found = over(input_ids=ids.to("cuda:0"), use_cache=False).logits
    torch.testing.assert_close(found.to("cpu"), wanted, rtol=1e-5, atol=1e-5)


# Which layer lies where --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the folder of a Llama of eight layers of 123,392 bytes; embedding and head take 131,072 each."""
    MockedCard(monkeypatch, 100, n=4)
    config = AutoConfig.for_model("llama", **CONFIGS["llama"] | {"num_hidden_layers": 8})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    return tmp_path


def holds(monkeypatch, *n_bytes):
    """Let cards 0, 1 ... hold weights of so many bytes."""
    monkeypatch.setattr(spread, "weight_room", lambda card: n_bytes[int(card[-1])])


def test_layers_stay_whole_and_in_order_and_cards_are_filled_alike(folder, monkeypatch):
    holds(monkeypatch, 10**6, 10**6, 10**6)
    found = spread.layout("m", str(folder), "float32", [*CARDS, "cuda:2"])
    layers = [found[f"model.layers.{n}"] for n in range(8)]
    assert layers == ["cuda:0"] * 2 + ["cuda:1"] * 4 + ["cuda:2"] * 2
    assert found["model.embed_tokens"] == found["model.rotary_emb"] == "cuda:0"
    assert found["lm_head"] == found["model.norm"] == "cuda:2"
    assert set(found.values()) == {"cuda:0", "cuda:1", "cuda:2"}


def test_a_smaller_card_holds_less(folder, monkeypatch):
    holds(monkeypatch, 260_000, 10**6)
    found = spread.layout("m", str(folder), "float32", CARDS)
    assert [name for name, card in found.items() if card == "cuda:0"] == [
        "model.embed_tokens", "model.layers.0", "model.rotary_emb",
    ]  # fmt: skip


def test_a_head_that_is_the_embedding_lies_with_it(folder, monkeypatch):
    config = AutoConfig.from_pretrained(folder)
    config.tie_word_embeddings = True
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    holds(monkeypatch, 700_000, 700_000)
    found = spread.layout("m", str(folder), "float32", CARDS)
    assert (found["lm_head"], found["model.norm"]) == CARDS
    assert sum(card == "cuda:0" for card in found.values()) == 6  # 3 layers beside them


def test_as_few_cards_are_needed_as_whole_layers_fit_on(folder, monkeypatch):
    for room, n in ((1_249_536, 1), (1_249_535, 2), (630_000, 2), (624_800, 3), (131_071, None)):
        holds(monkeypatch, *(room,) * 4)
        cards = [f"cuda:{number}" for number in range(4)]
        assert spread.cards_needed(str(folder), "float32", cards) == n, room
    holds(monkeypatch, 0, 0)
    assert spread.cards_needed(str(folder), "float32", CARDS) is None


def test_what_fits_on_no_cards_is_refused_before_it_is_read(folder, monkeypatch):
    holds(monkeypatch, 400_000, 400_000)
    with pytest.raises(DeviceError) as error:
        spread.load_spread("org/m", str(folder), None, CARDS, "float32")
    assert str(error.value) == (
        "the weights of model 'org/m' in float32 take 0.0 GiB, but 2 x Mocked 1 hold 0.0 beside a batch; give "
        "--dtype bfloat16 (0.0 GiB), a smaller model, or more GPUs: layers are never left on the CPU or the disk"
    )


def test_a_card_keeps_room_for_a_batch(folder):
    assert spread.weight_room("cuda:0") == 70 * GIB


def test_a_model_that_does_not_say_what_stays_whole_is_refused(folder, monkeypatch):
    holds(monkeypatch, 10**6, 10**6)
    monkeypatch.setattr("transformers.LlamaPreTrainedModel._no_split_modules", None)
    with pytest.raises(ModelError) as error:
        spread.layout("m", str(folder), "float32", CARDS)
    assert str(error.value) == (
        f"architecture LlamaForCausalLM ({folder}) does not say which of its layers must stay whole, so it "
        "cannot lie on several cards; give a smaller --dtype, or a card with more memory"
    )


@pytest.mark.slow
def test_the_layers_of_every_architecture_can_be_dealt(tmp_path):
    for name in CONFIGS:
        folder = tmp_path / name
        config = AutoConfig.for_model(name, **CONFIGS[name])
        config.save_pretrained(folder)
        n_bytes = sum(block.n_bytes for block in spread._blocks(str(folder), "float32"))
        found = spread._layout(str(folder), "float32", (9 * n_bytes // 10,) * 2)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        check_device_map(model, found)  # raises where a weight has no card
        assert sum(4 * weight.numel() for weight in model.parameters()) == n_bytes
        assert set(found.values()) == {0, 1}
