"""DONOD against what it stands for: a literal SGD step on one example, in float64."""

import copy
import shutil

import numpy as np
import pytest
import torch

from curate.models.load import load_model, resolve_model
from curate.models.passes.forward import Forward, PassRequest
from curate.models.text.render import Rendered
from curate.scorers.donod import DONOD

LR = 1e-2
PROMPT = 4
CONTEXT = 512
LENGTHS = (1, 7, 300)
HEADS = {
    "plain": ("llama", {"tie_word_embeddings": False}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "soft cap": ("gemma2", {"final_logit_softcapping": 5.0, "head_dim": 8,
                            "query_pre_attn_scalar": 8}),
    "scaled": ("cohere", {"logit_scale": 0.25}),
    "with bias": ("phi", {}),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=HEADS)
def model(request, tiny_model, tmp_path_factory):
    """A random model whose head is of one kind, as the pass loads it and as transformers does."""
    from transformers import AutoConfig, AutoModelForCausalLM

    name, settings = HEADS[request.param]
    folder = tmp_path_factory.mktemp("model") / "copy"
    shutil.copytree(tiny_model, folder)
    sizes = {
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes, **settings))
        output = made.get_output_embeddings()
        with torch.no_grad():
            output.weight.mul_(20)  # predictions that are neither flat nor certain
            if output.bias is not None:
                torch.nn.init.normal_(output.bias)
    for old in ("config.json", "model.safetensors"):
        (folder / old).unlink()
    made.save_pretrained(folder)
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return load_model(resolve_model(str(folder)), "cpu", "float64"), own


def row(t: int, seed: int = 0) -> Rendered:
    """A prompt of four tokens and a response of t, the last of which ends the turn."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, 320, PROMPT + t).astype(np.int32)
    positions = np.arange(PROMPT - 1, PROMPT - 1 + t)
    is_end = np.zeros(t, dtype=bool)
    is_end[-1] = t > 1
    return Rendered(ids, positions, ids[positions + 1], is_end, False, t - int(is_end.sum()))


def closed_form(loaded, rows, scorer):
    found = Forward(loaded).run(rows, PassRequest.of([scorer]))
    return [
        scorer.reduce({"full": measured.stats(scorer, loaded.head_weight_sq_norm)})
        for _, measured in found
    ]


def untied(own):
    """A copy whose head is a matrix of its own, and nothing but its weight has a gradient."""
    model = copy.deepcopy(own).requires_grad_(False)
    output = model.get_output_embeddings()
    output.weight = torch.nn.Parameter(output.weight.detach().clone())
    return model, output.weight


def literal_step(model, weight, rendered):
    """Take one SGD step by the mean loss over the response; return DON and NOD of a weight."""
    before = weight.detach().clone()
    logits = model(torch.tensor(rendered.ids[None].astype(np.int64)), use_cache=False).logits[0]
    targets = torch.tensor(rendered.targets.astype(np.int64))
    loss = torch.nn.functional.cross_entropy(logits[rendered.positions.tolist()], targets)
    optimiser = torch.optim.SGD([weight], lr=LR)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    after = weight.detach()
    return float(after.norm() - before.norm()), float((before - after).norm())


@pytest.mark.parametrize("t", LENGTHS)
def test_closed_form_is_the_literal_step_at_any_length(model, t):
    """By Gram at 1 and 7 tokens, directly at 300: that is where the cheaper form changes."""
    loaded, own = model
    rendered = row(t)
    (value,) = closed_form(loaded, [rendered], DONOD(lr=LR))
    don, nod = literal_step(*untied(own), rendered)
    assert value["nod"] == pytest.approx(nod, rel=1e-10)
    assert value["don"] == pytest.approx(don, rel=1e-8)


def test_examples_of_one_batch_do_not_meet(model):
    loaded, _ = model
    rows = [row(t, seed) for seed, t in enumerate((7, 300, 1, 40))]
    together = closed_form(loaded, rows, DONOD(lr=LR))
    for rendered, value in zip(rows, together, strict=True):
        (alone,) = closed_form(loaded, [rendered], DONOD(lr=LR))
        assert value == pytest.approx(alone, rel=1e-6)  # Gemma's attention rounds to float32


def test_gradient_norm_is_that_of_per_example_gradients(model):
    """`torch.func` maps one gradient function over examples: no code in common with the pass."""
    loaded, own = model
    rows = [row(40, seed) for seed in range(3)]
    module, weight = untied(own)
    names = [name for name, one in module.named_parameters() if one is weight]

    def loss(head, ids, targets):
        logits = torch.func.functional_call(module, {names[0]: head}, (ids[None],)).logits[0]
        return torch.nn.functional.cross_entropy(logits[PROMPT - 1 : -1], targets)

    ids = torch.tensor(np.stack([one.ids for one in rows]).astype(np.int64))
    targets = torch.tensor(np.stack([one.targets for one in rows]).astype(np.int64))
    gradient = torch.func.grad(loss)
    found = torch.stack(
        [gradient(weight.detach(), i, y) for i, y in zip(ids, targets, strict=True)]
    )
    values = closed_form(loaded, rows, DONOD(lr=LR))
    for one, value in zip(found, values, strict=True):
        assert value["grad_norm"] == pytest.approx(float(one.norm()), rel=1e-10)


def test_a_tied_head_is_stepped_as_if_it_were_untied(model):
    """The step of a real optimiser also moves the input embeddings, which are the same matrix."""
    loaded, own = model
    rendered = row(7)
    (value,) = closed_form(loaded, [rendered], DONOD(lr=LR))
    module = copy.deepcopy(own).requires_grad_(False)
    weight = module.get_output_embeddings().weight.requires_grad_(True)
    is_tied = weight is module.get_input_embeddings().weight
    _, real = literal_step(module, weight, rendered)
    assert (abs(real / value["nod"] - 1) > 1e-3) == is_tied
    assert value["nod"] == pytest.approx(literal_step(*untied(own), rendered)[1], rel=1e-10)
