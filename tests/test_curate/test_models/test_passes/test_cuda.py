"""What only a GPU can show; needs nothing but torch, transformers, numpy, pyarrow and jaxtyping."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from packed_training import gradient, trained
from random_models import EXACT, REFUSED, loaded, random_causal, random_groups, random_rows
from transformers import masking_utils

from curate.contracts.segments import POOLED
from curate.models.fitting import LADDER, LEAST, fits_on_card, largest_that_fits
from curate.models.generation.decoding import Decoder, Sampling
from curate.models.generation.refilling import draw_refilled
from curate.models.passes import head_kernel
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.head import Head
from curate.models.passes.head_gram import gram_norms
from curate.models.passes.layers import Layers
from curate.models.passes.packing import packing_flaw
from curate.models.passes.sharing import sharing_flaw
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.likelihood import Likelihood
from curate.train.model import can_pack

pytestmark = pytest.mark.gpu

LIKELIHOOD = PassRequest.of([Likelihood()])
EVERYTHING = PassRequest.of(
    [
        Likelihood(),
        DONOD(),
        DONOD(score_end=False),
        *(Embedding(pooling=p) for p in ("mean", "weighted_mean", "last")),
    ]
)
ALL = (*EXACT, *(name for name in REFUSED if name != "mamba"))


def measured(model, rows, wants=EVERYTHING, **options):
    return [one for _, one in Forward(model, **options).run(rows, wants)]


def assert_close(wanted, found, rtol=1e-4, atol=1e-5):
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.nll, a.nll, rtol=rtol, atol=atol)
        np.testing.assert_allclose(b.entropy, a.entropy, rtol=rtol, atol=atol)
        np.testing.assert_allclose(b.inner, a.inner, rtol=rtol, atol=10 * atol)
        for with_end, norm in a.sq_norm.items():
            assert b.sq_norm[with_end] == pytest.approx(norm, rel=10 * rtol, abs=atol)
        for stat in POOLED:
            np.testing.assert_allclose(b.pooled[stat], a.pooled[stat], rtol=rtol, atol=10 * atol)


@contextmanager
def no_waiting():
    """Raise wherever Python would wait for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ALL)
def test_every_statistic_is_the_cpus_in_float32(name):
    rows = random_rows()
    wanted = measured(loaded(name), rows)
    assert_close(wanted, measured(loaded(name, "cuda"), rows))
    alone = measured(loaded(name, "cuda"), rows, LIKELIHOOD)
    for a, b in zip(wanted, alone, strict=True):
        np.testing.assert_allclose(b.nll, a.nll, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(b.entropy, a.entropy, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EXACT)
def test_rows_end_to_end_are_exact_in_float32(name):
    model = loaded(name, "cuda")
    assert packing_flaw(model) is None
    rows = random_rows()
    assert_close(measured(model, rows), measured(model, rows, packed=True))


@pytest.mark.parametrize("name", EXACT)
def test_rows_that_share_what_they_begin_with_are_exact_in_float32(name):
    model = loaded(name, "cuda")
    assert sharing_flaw(model) is None
    assert sharing_flaw(loaded(name, "cuda", "bfloat16")) is None
    rows = random_groups()
    assert_close(measured(model, rows), measured(model, rows, shared=True))


@pytest.mark.parametrize("name", EXACT)
def test_rows_end_to_end_agree_through_the_flash_kernel(name):
    model = loaded(name, "cuda", "bfloat16")
    assert packing_flaw(model) is None
    rows = random_rows()
    padded, packed = measured(model, rows), measured(model, rows, packed=True)
    for a, b in zip(padded, packed, strict=True):
        assert abs(a.nll.mean() - b.nll.mean()) < 2e-2
        assert np.abs(a.nll - b.nll).max() < 0.2


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "mamba"])
def test_other_attention_is_refused_and_padded(name):
    assert packing_flaw(loaded(name, "cuda", "bfloat16"))


@pytest.mark.parametrize("vocabulary", [300, 4096, 50_257, 151_936])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_kernel_gives_what_log_softmax_gives_in_double(vocabulary, dtype):
    if not head_kernel.available():
        pytest.skip("triton is not installed")
    torch.manual_seed(0)
    raw = (torch.randn(33, vocabulary, device="cuda") * 6).to(dtype)
    targets = torch.randint(0, vocabulary, (33,), device="cuda")
    bias = torch.randn(vocabulary, device="cuda", dtype=dtype)
    for options in ({}, {"scale": 0.5}, {"softcap": 30.0}, {"bias": bias, "softcap": 20.0}):
        nll, entropy, log_total = head_kernel.row_statistics(raw, targets, **options)
        logits = raw.double() + (options["bias"].double() if "bias" in options else 0.0)
        logits = logits * options.get("scale", 1.0)
        if "softcap" in options:
            logits = options["softcap"] * torch.tanh(logits / options["softcap"])
        logp = torch.log_softmax(logits, dim=1)
        wanted = -logp.gather(1, targets[:, None]).squeeze(1)
        torch.testing.assert_close(nll.double(), wanted, rtol=1e-5, atol=2e-5)
        spread = -(logp.exp() * logp).sum(1)
        torch.testing.assert_close(entropy.double(), spread, rtol=1e-5, atol=2e-5)
        total = torch.logsumexp(logits, dim=1)
        torch.testing.assert_close(log_total.double(), total, rtol=1e-5, atol=2e-5)


def test_gradient_norms_of_the_head_in_bfloat16_are_those_of_the_same_states_in_double():
    torch.manual_seed(0)
    counts = [5, 1, 300, 40, 900, 77, 2, 1500]
    n = sum(counts)
    weight = (torch.randn(5_000, 128, device="cuda") * 0.3).bfloat16()
    hidden = torch.randn(n, 128, device="cuda").bfloat16()
    targets = torch.randint(0, 5_000, (n,), device="cuda")
    ends = torch.rand(n, device="cuda") < 0.1
    owners = torch.repeat_interleave(torch.arange(8), torch.tensor(counts)).cuda()
    both = frozenset({True, False})
    nll, _, norms = gram_norms(
        Head(weight), hidden, targets, ends, owners, torch.tensor(counts).cuda(), counts, both
    )
    logits = torch.nn.functional.linear(hidden, weight).double()
    wanted = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(nll.double(), wanted, rtol=1e-4, atol=1e-4)
    residual = torch.softmax(logits, 1) - torch.nn.functional.one_hot(targets, 5_000)
    for with_end in (True, False):
        kept = residual if with_end else residual * ~ends[:, None]
        pieces = zip(torch.split(kept, counts), torch.split(hidden.double(), counts), strict=True)
        exact = torch.stack([(r.T @ h).square().sum() for r, h in pieces])
        torch.testing.assert_close(norms[with_end], exact, rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("shared", [False, True], ids=["each row", "shared"])
@pytest.mark.parametrize("wants", [LIKELIHOOD, EVERYTHING], ids=["likelihood", "everything"])
def test_nothing_waits_for_the_gpu_between_batches(wants, shared):
    model = loaded("qwen2", "cuda", "bfloat16")
    rows = random_groups()
    batches = [rows[:6], rows[6:], rows[3:9]]
    forward = Forward(model, packed=True, shared=shared)
    before = list(forward.run_all(batches, wants))  # compiles kernels and fills pools of memory
    with no_waiting():
        found = list(forward.run_all(batches, wants))
    assert [one[:2] for one in found] == [one[:2] for one in before]
    for (_, _, a), (_, _, b) in zip(before, found, strict=True):
        np.testing.assert_array_equal(a.nll, b.nll)


def test_the_test_for_waiting_sees_a_wait():
    with no_waiting(), pytest.raises(RuntimeError, match="synchron"):
        torch.ones(3, device="cuda").sum().item()


def test_a_batch_that_exceeds_the_cards_memory_is_halved():
    model = loaded("qwen2", "cuda")
    rows = random_rows(16)
    wanted = measured(model, rows)
    held = []
    original = type(model).hidden

    class Hungry:
        def __getattr__(self, name):
            return getattr(model, name)

        def hidden(self, ids):
            if len(ids) > 4:
                held.append(torch.empty(2**50, dtype=torch.uint8, device="cuda"))
            return original(model, ids)

    forward = Forward(Hungry())
    found = [one for _, one in forward.run(rows, EVERYTHING)]
    assert forward.n_split == 16 and not held
    assert_close(wanted, found)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_gradient_norms_of_every_layer_are_the_cpus(name):
    rows = random_rows(4)
    keeps = [np.ones(len(row.targets), dtype=bool) for row in rows]
    wanted = Layers.of(loaded(name)).run(rows, keeps)
    found = Layers.of(loaded(name, "cuda")).run(rows, keeps)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.sq_norm, a.sq_norm, rtol=2e-3, atol=1e-6)
        np.testing.assert_allclose(b.inner, a.inner, rtol=2e-3, atol=1e-4)


def test_one_training_step_is_the_cpus():
    losses, weights = [], []
    for device in ("cpu", "cuda"):
        model = random_causal("qwen2").to(device).requires_grad_(True)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        ids = torch.arange(2 * 24, device=device).view(2, 24) * 37 % 512
        for _ in range(2):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        losses.append(loss.item())
        weights.append(model.lm_head.weight.detach().cpu())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=5e-4)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2"])
def test_training_on_rows_end_to_end_gives_the_gradient_of_padded_rows(name):
    assert can_pack(trained(name, "cuda", "bfloat16"))
    wanted, padded = gradient(trained(name, "cuda", "bfloat16"), 120)
    found, packed = gradient(trained(name, "cuda", "bfloat16", packed=True), 10_000)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-2)
    assert float((packed - padded).norm() / padded.norm()) < 5e-2
    exact, _ = gradient(trained(name), 10_000)
    assert found.loss == pytest.approx(exact.loss, rel=1e-2)


@pytest.mark.parametrize("shared", [False, True], ids=["end to end", "shared"])
def test_the_largest_batch_that_fits_is_found_on_the_card(shared):
    model = loaded("qwen2", "cuda", "bfloat16")
    assert fits_on_card(model, LEAST, packed=True, shared=shared)
    held = torch.cuda.mem_get_info()[0] - 2**28  # leave 256 MiB
    block = torch.empty(held, dtype=torch.uint8, device="cuda")
    assert not fits_on_card(model, LADDER[-1], packed=True, shared=shared)
    del block
    torch.cuda.empty_cache()
    assert (
        largest_that_fits(lambda size: fits_on_card(model, size, packed=True, shared=shared))
        in LADDER
    )


def test_answers_on_refilled_rows_are_the_cpus():
    drawing = Sampling(k=2, max_new_tokens=24, temperature=1.0, seed=0)
    prompts = [row.ids.tolist() for row in random_rows(9)]
    ids = [f"{n:032x}" for n in range(len(prompts))]
    drawn = []
    for device in ("cpu", "cuda"):
        model = loaded("qwen2", device, "float64")
        decoder = Decoder(
            model.backbone, model.head, None, frozenset(range(0, 512, 20)), None, device, 400
        )
        drawn.append(draw_refilled(decoder, prompts, ids, drawing, 400))
    assert drawn[0] == drawn[1] and len(drawn[0]) == len(prompts)


def test_what_layers_measure_waits_for_nothing_but_the_copy():
    model, rows = loaded("llama", "cuda"), random_rows(4)
    keeps = [np.ones(len(row.targets), dtype=bool) for row in rows]
    layers = Layers.of(model)
    layers.run(rows, keeps)
    fetched = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.models.passes.layers.to_host", lambda one: fetched.append(one) or [])
        patch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
        with no_waiting():
            layers.run(rows, keeps)
    assert fetched[0].shape == (4, 2, len(layers.names))
