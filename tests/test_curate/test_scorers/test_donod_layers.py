import copy
import shutil

import numpy as np
import pytest
import torch

from curate.contracts import FAILURE, TOKENS_RUN, Example, LoadContext
from curate.errors import ConfigError, ModelError
from curate.models.load import load_model, resolve_model
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.layers import Layers
from curate.models.text.render import Rendered
from curate.scorers.donod import DONOD
from curate.scorers.donod_layers import DONODLayers

LR = 1e-2
PROMPT = 4
ARCHITECTURES = {
    "llama": {},
    "llama tied": {"tie_word_embeddings": True},
    "gemma2": {"final_logit_softcapping": 5.0, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gpt2": {},
    "phi": {},
    "gpt_neox": {},
    "qwen3": {"head_dim": 8},
    "cohere": {"logit_scale": 0.25},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name: str, settings: dict, source, folder):
    """Write a random model of an architecture, every weight away from 0 and 1."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(source, folder)
    sizes = {
        "vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "tie_word_embeddings": False,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        config = AutoConfig.for_model(name, **{**sizes, **settings})
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    for old in ("config.json", "model.safetensors"):
        (folder / old).unlink()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request, tiny_model, tmp_path_factory):
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("layers") / "copy"
    make(request.param.split()[0], ARCHITECTURES[request.param], tiny_model, folder)
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return load_model(resolve_model(str(folder)), "cpu", "float64"), own


def row(t: int, seed: int = 0) -> Rendered:
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, 40, PROMPT + t).astype(np.int32)  # some of them again and again
    positions = np.arange(PROMPT - 1, PROMPT - 1 + t)
    is_end = np.zeros(t, dtype=bool)
    is_end[-1] = t > 1
    return Rendered(ids, positions, ids[positions + 1], is_end, False, t)


def everything(rendered: Rendered) -> np.ndarray:
    return np.ones(len(rendered.targets), dtype=bool)


def literal_step(own, rendered, keep) -> tuple[float, float]:
    """DON (after minus before) and NOD of every weight by one SGD step, the head a copy of its own."""
    model = copy.deepcopy(own).requires_grad_(True)
    output = model.get_output_embeddings()
    output.weight = torch.nn.Parameter(output.weight.detach().clone())
    weights = list({id(one): one for one in model.parameters()}.values())
    before = [one.detach().clone() for one in weights]
    logits = model(torch.tensor(rendered.ids[None].astype(np.int64)), use_cache=False).logits[0]
    targets = torch.tensor(rendered.targets[keep].astype(np.int64))
    loss = torch.nn.functional.cross_entropy(logits[rendered.positions[keep].tolist()], targets)
    loss.backward()
    torch.optim.SGD(weights, lr=LR).step()
    don = sum(float(a.detach().norm() - b.norm()) for b, a in zip(before, weights, strict=True))
    nod = sum(float((b - a.detach()).norm()) for b, a in zip(before, weights, strict=True))
    return don, nod


@pytest.mark.parametrize("t", [1, 7, 200])
def test_one_backward_pass_is_the_literal_step_of_every_weight(model, t):
    """By Gram at 1 and 7 tokens; at 200 most layers are cheaper directly."""
    loaded, own = model
    layers, rendered, keep = Layers.of(loaded), row(t), everything(row(t))
    (stats,) = layers.run([rendered], [keep])
    value = DONODLayers(lr=LR)._values(stats, layers.sq_norms)
    don, nod = literal_step(own, rendered, keep)
    assert value["nod"] == pytest.approx(nod, rel=1e-8)
    assert value["don"] == pytest.approx(don, rel=1e-6, abs=1e-10)


def test_examples_of_one_batch_do_not_meet(model):
    loaded, _ = model
    layers, rows = Layers.of(loaded), [row(t, seed) for seed, t in enumerate((7, 60, 1))]
    together = layers.run(rows, [everything(one) for one in rows])
    for rendered, stats in zip(rows, together, strict=True):
        (alone,) = layers.run([rendered], [everything(rendered)])
        np.testing.assert_allclose(stats.sq_norm, alone.sq_norm, rtol=1e-5, atol=1e-12)
        rounding = 1e-6 * np.abs(alone.inner).max()  # some norms compute in float32
        np.testing.assert_allclose(stats.inner, alone.inner, rtol=1e-5, atol=rounding)


def test_the_head_is_that_of_the_shared_pass(model):
    loaded, _ = model
    layers, rendered = Layers.of(loaded), row(20)
    keep = ~rendered.is_end
    (stats,) = layers.run([rendered], [keep])
    scorer = DONOD(score_end=False)
    ((_, measured),) = Forward(loaded).run([rendered], PassRequest.of([scorer]))
    shared = measured.stats(scorer, loaded.head_weight_sq_norm)
    assert layers.names[0] == "lm_head.weight"
    assert layers.sq_norms[0] == pytest.approx(loaded.head_weight_sq_norm)
    assert stats.sq_norm[0] == pytest.approx(shared.head_sq_norm, rel=1e-9)
    assert stats.inner[0] == pytest.approx(shared.head_inner, rel=1e-9)


def test_every_weight_is_counted_once_and_a_tied_one_twice(model):
    loaded, own = model
    names = [name for name, _ in own.named_parameters()]
    tied = own.get_output_embeddings().weight is own.get_input_embeddings().weight
    assert len(Layers.of(loaded).names) == len(names) + tied


def test_no_gradient_of_a_weight_is_formed_and_nothing_is_left_behind(model):
    loaded, _ = model
    layers = Layers.of(loaded)
    layers.run([row(7)], [everything(row(7))])
    assert all(one.grad is None and not one.requires_grad for one in loaded.backbone.parameters())
    assert not any(module._forward_hooks for module in loaded.backbone.modules())


def test_weights_it_cannot_read_are_refused_by_name(tiny_model, tmp_path):
    settings = {"num_local_experts": 2, "num_experts_per_tok": 1}
    folder = make("mixtral", settings, tiny_model, tmp_path / "moe")
    loaded = load_model(resolve_model(str(folder)), "cpu", "float32")
    with pytest.raises(
        ModelError,
        match=r"the gradient of .*gate.weight of a MixtralTopKRouter .*donod.layers=head",
    ):
        Layers.of(loaded)


# As a scorer -------------------------------------------------------------------------------------


def examples_of(*texts: tuple[str, str]) -> list[Example]:
    return [
        Example(f"{n:032x}", ({"role": "user", "content": q}, {"role": "assistant", "content": a}))
        for n, (q, a) in enumerate(texts)
    ]


def test_scores_follow_the_sign_and_the_learning_rate(tiny_model):
    examples = examples_of(("name a colour", "blue"), ("what is two plus two", "four"))
    context = LoadContext("cpu", "float64", str(tiny_model))
    found = {
        (lr, sign): DONODLayers(lr=lr, don_sign=sign, template="plain").load(context)(examples)
        for lr in (1e-9, 1e-8)
        for sign in ("before_minus_after", "after_minus_before")
    }
    small, opposite = found[1e-9, "before_minus_after"], found[1e-9, "after_minus_before"]
    assert small["don"].tolist() == (-opposite["don"]).tolist()
    ten = found[1e-8, "before_minus_after"]
    assert ten["nod"] == pytest.approx(10 * small["nod"])
    assert ten["don"] == pytest.approx(10 * small["don"], rel=1e-4)
    assert (small["grad_norm"] <= small["nod"] * 1e9).all()


def test_a_row_without_a_scored_token_fails_alone(tiny_model):
    examples = examples_of(("name a colour", "blue"), ("the cat sat on the mat " * 30, "no"))
    context = LoadContext("cpu", "float32", str(tiny_model))
    found = DONODLayers(template="plain").load(context)(examples)
    assert found[FAILURE][0] is None and found[FAILURE][1]
    assert found["nod"][0] > 0 and np.isnan(found["nod"][1])
    assert found[TOKENS_RUN][0] > 0


@pytest.mark.slow
def test_real_rows_by_a_real_model(realdata, realmodel):
    import pyarrow.parquet as pq

    table = pq.read_table(realdata / "math_gsm8k_train.parquet", columns=["prompt", "response"])
    texts = [(one["prompt"], one["response"]) for one in table.slice(0, 6).to_pylist()]
    context = LoadContext("cpu", "float32", str(realmodel))
    found = DONODLayers(template="plain").load(context)(examples_of(*texts))
    assert np.isfinite(found["don"]).all() and (found["nod"] > 0).all()
    assert all(reason is None for reason in found[FAILURE])


def test_a_learning_rate_must_be_positive():
    with pytest.raises(ConfigError, match=r"donod-layers.lr must be positive, got 0; try 1e-5"):
        DONODLayers(lr=0)
