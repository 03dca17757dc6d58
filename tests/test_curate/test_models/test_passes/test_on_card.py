"""What runs on a GPU alone, run on the CPU: the same numbers, no wait, one copy back for each batch."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from mocked_card import mocked_card
from on_card import Event, OnCard, WaitError, no_waiting, on_card
from packed_training import gradient, trained
from random_models import EVERYTHING, assert_close, loaded, random_groups, random_rows
from stub_triton import interpreted
from tiny_reward import save_tiny_reward
from tiny_t5 import save_tiny_t5

from curate.contracts import LoadContext
from curate.models.classifiers.sequence import load_reward_model
from curate.models.classifiers.yes_no import load_yes_no
from curate.models.passes import device_batch, head_gram, head_kernel, packing
from curate.models.passes import forward as forward_of
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.head import Head
from curate.models.passes.layers import Layers
from curate.scorers.likelihood import Likelihood
from curate.train.evaluation.evaluate import summed_nll

__all__ = ["mocked_card", "on_card"]  # fixtures

LIKELIHOOD = PassRequest.of([Likelihood()])
WAYS = {"padded": {}, "end to end": {"packed": True}, "shared": {"shared": True}}


def on_gpu(model):
    return replace(model, device="cuda:0")


def batches():
    rows = random_groups()
    return [rows[:6], rows[6:], rows[3:9]]


def by_batch(found):
    return [measured for _, _, measured in found]


@pytest.fixture(scope="module")
def llama():
    return loaded("llama")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "chunks"])
def test_a_pass_waits_for_nothing_and_copies_back_once_a_batch(
    on_card, monkeypatch, llama, way, kernel
):
    monkeypatch.setattr(head_kernel, "available", lambda: kernel)
    wanted = by_batch(Forward(llama).run_all(batches(), EVERYTHING))
    with no_waiting():
        found = by_batch(Forward(on_gpu(llama), **WAYS[way]).run_all(batches(), EVERYTHING))
    assert_close(wanted, found)
    assert len(on_card.copies) == len(batches())


def test_the_programs_of_the_kernel_give_a_pass_what_chunks_give_it(on_card, monkeypatch, llama):
    kernel = interpreted(monkeypatch, head_kernel)
    wanted = by_batch(Forward(llama).run_all(batches(), EVERYTHING))
    monkeypatch.setattr(head_kernel, "row_statistics", kernel.row_statistics)
    monkeypatch.setattr(head_kernel, "to_residuals", kernel.to_residuals)
    found = by_batch(Forward(on_gpu(llama), packed=True).run_all(batches(), EVERYTHING))
    assert_close(wanted, found)


@pytest.mark.parametrize("way", WAYS)
def test_a_likelihood_pass_does_not_wait_either(on_card, llama, way):
    wanted = by_batch(Forward(llama).run_all(batches(), LIKELIHOOD))
    with no_waiting():
        found = by_batch(Forward(on_gpu(llama), **WAYS[way]).run_all(batches(), LIKELIHOOD))
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.nll, a.nll, rtol=1e-4, atol=1e-5)
    assert len(on_card.copies) == len(batches())


def test_gradient_norms_of_long_examples_do_not_wait(on_card, monkeypatch, llama):
    monkeypatch.setattr(Head, "chunk_rows", property(lambda self: 4))
    monkeypatch.setattr(head_kernel, "available", lambda: False)
    for model in (llama, replace(llama, head=replace(llama.head, softcap=9.0))):
        wanted = by_batch(Forward(model).run_all(batches(), EVERYTHING))
        with no_waiting():
            found = by_batch(Forward(on_gpu(model), packed=True).run_all(batches(), EVERYTHING))
        assert_close(wanted, found)


def varlen(query, key, value, starts, key_starts, longest, longest_key, dropout, causal, debug, **options):  # fmt: skip
    """Attend as torch's flash kernel does: rows end to end, causal from the end of each row's keys."""
    assert causal and (longest, longest_key) == (max(starts.diff()), max(key_starts.diff()))
    done = []
    rows = zip(starts[:-1], starts[1:], key_starts[:-1], key_starts[1:], strict=True)
    for a, b, c, d in (tuple(map(int, row)) for row in rows):
        q, k, v = query[a:b], key[c:d], value[c:d]
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k).float() * options["scale"]
        apart = torch.arange(d - c)[-(b - a) :, None] - torch.arange(d - c)[None]
        seen = apart >= 0
        if options["window_size_left"] is not None:
            seen &= apart <= options["window_size_left"]
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).to(q.dtype)
        done.append(torch.einsum("hqk,khd->qhd", weights, v))
    return (torch.cat(done),)


@pytest.mark.parametrize("name", ["qwen2", "mistral"])
@pytest.mark.parametrize("shared", [False, True], ids=["end to end", "shared"])
def test_the_flash_kernel_is_called_with_boundaries_that_give_the_same(
    on_card, monkeypatch, name, shared
):
    called = []

    def flash(*args, **options):
        called.append(1)
        plain = [a.as_subclass(torch.Tensor) if isinstance(a, torch.Tensor) else a for a in args]
        return (varlen(*plain, **options)[0].as_subclass(OnCard),)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash)
    monkeypatch.setattr(packing, "FLASH_DTYPES", (torch.float32,))
    model = loaded(name)
    wanted = by_batch(Forward(model).run_all(batches(), EVERYTHING))
    way = {"shared": True} if shared else {"packed": True}
    assert_close(wanted, by_batch(Forward(on_gpu(model), **way).run_all(batches(), EVERYTHING)))
    assert len(called) == 2 * len(batches())  # once a layer


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: x[x > 0], lambda x: x.cpu(),
        lambda x: float(x.sum()), lambda x: bool(x.any()), lambda x: x.nonzero(),
        lambda x: torch.unique(x), lambda x: x.masked_select(x > 0),
        lambda x: x.repeat_interleave(x.long()),
    ],
)  # fmt: skip
def test_the_tests_see_a_wait(on_card, wait):
    with pytest.raises(WaitError), no_waiting():
        wait(torch.ones(3).as_subclass(OnCard))


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_gradient_norms_of_every_layer_come_in_one_copy_a_batch(on_card, name):
    model, rows = loaded(name), random_groups()[:5]
    keeps = [np.ones(len(row.targets), dtype=bool) for row in rows]
    layers = Layers.of(model)
    wanted = layers.run(rows, keeps)
    with no_waiting():
        found = replace(layers, model=on_gpu(model)).run(rows, keeps)
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.inner, a.inner, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(b.sq_norm, a.sq_norm, rtol=1e-4, atol=1e-9)
    assert on_card.copies == [(5, 2, len(layers.names))]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "end to end"])
def test_a_training_step_waits_for_its_numbers_once(on_card, packed):
    model = trained("llama", packed=packed)
    wanted, exact = gradient(model, 200)
    there = replace(model, device=torch.device("cuda"))
    found, formed = gradient(there, 200, watched=no_waiting)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    np.testing.assert_allclose(found.nll, wanted.nll, rtol=1e-5)
    torch.testing.assert_close(formed, exact, rtol=1e-4, atol=1e-7)
    assert len(on_card.copies) == 1


def test_texts_through_a_classifier_wait_for_nothing_between_batches(on_card, tmp_path):
    model = load_reward_model(LoadContext("cpu", "float32", str(save_tiny_reward(tmp_path))))
    texts = [f"name {'two ' * n}" for n in (1, 9, 30, 4, 2)]
    wanted = model.answers(texts)
    there = replace(model, device="cuda:0", batch_tokens=150)
    with no_waiting():
        found = there.answers(texts)
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-4, atol=1e-6)
    assert len(on_card.copies) > 1


def test_what_is_cheaper_formed_than_by_pairs_of_tokens_does_not_wait(on_card, monkeypatch, llama):
    rows = random_rows(4, longest=126)
    counts = [len(row.targets) for row in rows]
    vocabulary, dim = llama.head.weight.shape
    assert max(counts) * (vocabulary + dim) > vocabulary * dim > min(counts) * (vocabulary + dim)
    monkeypatch.setattr(head_kernel, "available", lambda: False)
    monkeypatch.setattr(device_batch, "POOL_ELEMENTS", 100 * dim)
    wanted = by_batch(Forward(llama).run_all([rows], EVERYTHING))
    with no_waiting():
        found = by_batch(Forward(on_gpu(llama), packed=True).run_all([rows], EVERYTHING))
    assert_close(wanted, found)


def test_long_examples_are_left_to_the_chunks_between_those_the_kernel_reads(
    on_card, monkeypatch, llama
):
    monkeypatch.setattr(head_gram, "GRAM_ROWS", 12)
    monkeypatch.setattr(head_gram, "LONGEST", 20)
    read, original = [], head_kernel.to_residuals
    monkeypatch.setattr(
        head_kernel,
        "to_residuals",
        lambda raw, *rest: read.append(len(raw)) or original(raw, *rest),
    )
    rows = random_groups()
    wanted = by_batch(Forward(llama).run_all([rows], EVERYTHING))
    with no_waiting():
        found = by_batch(Forward(on_gpu(llama), packed=True).run_all([rows], EVERYTHING))
    assert_close(wanted, found)
    assert 0 < sum(read) < sum(len(row.targets) for row in rows) and max(read) <= 20


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wants", [EVERYTHING, LIKELIHOOD], ids=["everything", "likelihood"])
def test_a_model_in_float64_is_measured_in_it(on_card, monkeypatch, way, wants):
    def rounds(*args, **options):
        raise AssertionError("float32")

    monkeypatch.setattr(head_kernel, "row_statistics", rounds)
    model = loaded("llama", dtype="float64")
    wanted = by_batch(Forward(model).run_all(batches(), wants))
    found = by_batch(Forward(on_gpu(model), **WAYS[way]).run_all(batches(), wants))
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.nll, a.nll, rtol=1e-11)
        np.testing.assert_allclose(b.entropy, a.entropy, rtol=1e-11)
        for stat, vector in a.pooled.items():
            np.testing.assert_allclose(b.pooled[stat], vector, rtol=1e-9, atol=1e-12)


def test_products_of_rounded_rows_are_summed_in_float32(monkeypatch):
    asked, product = [], torch.mm

    def mm(a, b, *, out_dtype):
        asked.append(out_dtype)
        return product(a.float(), b.float())

    monkeypatch.setattr(torch, "mm", mm)
    rows = torch.randn(6, 40).bfloat16()
    exact = rows.float() @ rows.float().T
    for version, calls in (("2.13.0+cu130", [torch.float32]), ("2.7.1", [])):
        monkeypatch.setattr(torch, "__version__", version)
        asked.clear()
        found = head_gram._gram(rows.as_subclass(OnCard))
        assert found.dtype == torch.float32 and asked == calls
        torch.testing.assert_close(found.as_subclass(torch.Tensor), exact)


def test_under_autocast_attention_runs_in_its_dtype(on_card, mocked_card, monkeypatch):
    given = []

    def flash(q, k, v, *rest, **options):
        given.extend(one.dtype for one in (q, k, v))
        plain = [one.as_subclass(torch.Tensor) for one in (q, k, v)]
        return (varlen(*plain, *rest, **options)[0].as_subclass(OnCard),)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash)
    query, key, value = (torch.randn(1, heads, 9, 8) for heads in (4, 2, 2))
    rows = packing.boundaries((4, 5), torch.device("cpu"))
    exact = packing._row_by_row(query, key, value, rows, 0.0, 8**-0.5, None)
    there = [one.as_subclass(OnCard) for one in (query, key, value)]
    token = packing._ROWS.set(rows)
    try:
        with torch.autocast("cuda", torch.bfloat16):
            found, _ = packing._attention(torch.nn.Identity(), *there, None, scaling=8**-0.5)
    finally:
        packing._ROWS.reset(token)
    assert given == [torch.bfloat16] * 3 and found.dtype == torch.bfloat16
    torch.testing.assert_close(found.as_subclass(torch.Tensor).float(), exact, rtol=0, atol=5e-2)


def test_what_a_batch_held_is_free_when_the_next_half_is_tried(on_card, monkeypatch, llama):
    held, emptied = [], []

    def hidden(self, ids):
        if len(ids) > 4:
            states = torch.zeros(len(ids)).as_subclass(OnCard)
            held.append(weakref.ref(states))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, ids)

    original = type(llama).hidden
    wanted = by_batch(Forward(llama).run_all(batches(), LIKELIHOOD))
    monkeypatch.setattr(type(llama), "hidden", hidden)
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: emptied.append([one() for one in held if one()])
    )
    forward = Forward(on_gpu(llama))
    found = by_batch(forward.run_all(batches(), LIKELIHOOD))
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(b.nll, a.nll, rtol=1e-4, atol=1e-5)
    assert len(emptied) == len(held) == 3 and not any(emptied)
    assert forward.n_split == sum(map(len, batches()))


def test_the_next_batch_of_an_evaluation_is_queued_before_the_last_is_fetched(
    on_card, monkeypatch, llama
):
    order, launch = [], forward_of.launch
    monkeypatch.setattr(
        forward_of, "launch", lambda *args, **options: order.append("queued") or launch(*args, **options)
    )  # fmt: skip
    monkeypatch.setattr(Event, "synchronize", lambda self: order.append("fetched"))
    rows = random_groups()
    wanted = summed_nll(llama, rows, 300)
    with no_waiting():
        found = summed_nll(on_gpu(llama), rows, 300)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    n = len(on_card.copies)
    assert n > 2 and order == ["queued", *["queued", "fetched"] * (n - 1), "fetched"]


def test_yes_or_no_is_answered_without_a_wait_between_batches(on_card, tmp_path):
    model = load_yes_no(LoadContext("cpu", "float32", str(save_tiny_t5(tmp_path))), 100)
    texts = [f"name {'two ' * n}" for n in (1, 9, 9, 4, 2)]
    wanted = model.answers(texts)
    there = replace(model, device="cuda:0", batch_tokens=150)
    with no_waiting():
        found = there.answers(texts)
    np.testing.assert_allclose(found.values, wanted.values, rtol=1e-5)
    assert len(on_card.copies) > 1
