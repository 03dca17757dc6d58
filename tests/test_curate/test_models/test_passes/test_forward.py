import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from curate.contracts import Example, Rendering, Stat
from curate.models.batch import plan_batches
from curate.models.load import load_model, resolve_model
from curate.models.memory import is_out_of_memory
from curate.models.passes.forward import Forward, PassRequest, pool
from curate.models.text.render import Renderer
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.ifd import IFD
from curate.scorers.likelihood import Likelihood

EVERYTHING = PassRequest.of(
    [
        Likelihood(),
        DONOD(),
        DONOD(score_end=False),
        *(Embedding(pooling=p) for p in ("mean", "weighted_mean", "last")),
    ]
)
TEXTS = [
    ("name a colour", "blue"),
    ("what is two plus two", "two plus two is four, and four it is"),
    ("write a poem", "the sea the sea the cat sat on the sea"),
    ("x", "y"),
    ("the cat sat on the mat " * 3, "no"),
]


def examples_of(texts):
    return [
        Example(f"{n:032x}", ({"role": "user", "content": q}, {"role": "assistant", "content": a}))
        for n, (q, a) in enumerate(texts)
    ]


def full_logits(path, dtype):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()

    @torch.inference_mode()
    def run(ids):
        output = model(torch.tensor([list(ids)]), use_cache=False, output_hidden_states=True)
        return output.logits[0], output.hidden_states[-1][0]

    return run


def reference(run, rendered):
    """One row by the obvious loop's formula: full logits, then log-softmax at the scored positions."""
    logits, _ = run(rendered.ids.tolist())
    logp = torch.log_softmax(logits[rendered.positions.tolist()].double(), -1)
    targets = torch.tensor(rendered.targets.astype(np.int64))
    nll = -logp.gather(1, targets[:, None])[:, 0]
    return nll.numpy(), -(logp.exp() * logp).sum(-1).numpy()


def measure(model, rows, batches, wants=EVERYTHING):
    forward = Forward(model)
    found = {}
    for batch in batches:
        for place, measured in forward.run([rows[i] for i in batch], wants):
            found[batch[place]] = measured
    return [found[i] for i in range(len(rows))], forward


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def resolved(tiny_model):
    return resolve_model(str(tiny_model))


@pytest.fixture(scope="module")
def double(resolved):
    return load_model(resolved, "cpu", "float64")


@pytest.fixture(scope="module")
def rows(double):
    return Renderer(double.tokenizer, 64).render(examples_of(TEXTS), Rendering("grape"))


def test_every_statistic_is_that_of_the_obvious_loop_in_float64(tiny_model, double, rows):
    run = full_logits(tiny_model, torch.float64)
    found, _ = measure(double, rows, [[4, 2, 1], [0, 3]])
    for rendered, measured in zip(rows, found, strict=True):
        nll, entropy = reference(run, rendered)
        _, hidden = run(rendered.ids)
        n = len(rendered.ids)
        np.testing.assert_allclose(measured.nll, nll, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(measured.entropy, entropy, rtol=1e-10, atol=1e-12)
        rising = np.arange(1, n + 1) / (n * (n + 1) / 2)
        wanted = {
            Stat.MEAN_HIDDEN: hidden.mean(0).numpy(),
            Stat.WEIGHTED_HIDDEN: (hidden.numpy() * rising[:, None]).sum(0),
            Stat.LAST_HIDDEN: hidden[-1].numpy(),
        }
        for stat, vector in wanted.items():
            np.testing.assert_allclose(measured.pooled[stat], vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "batches", [[[0, 1, 2, 3, 4]], [[3, 0], [4, 1, 2]], [[0], [1], [2], [3], [4]]]
)
def test_batches_and_their_order_change_nothing(double, rows, batches):
    one, _ = measure(double, rows, [[4, 2, 1], [0, 3]])
    two, _ = measure(double, rows, batches)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a.nll, b.nll, rtol=1e-11, atol=1e-12)
        assert a.sq_norm[True] == pytest.approx(b.sq_norm[True], rel=1e-10)
        np.testing.assert_allclose(
            a.pooled[Stat.MEAN_HIDDEN], b.pooled[Stat.MEAN_HIDDEN], rtol=1e-10, atol=1e-12
        )


def test_donod_is_a_literal_step_in_float64(double, rows):
    found, _ = measure(double, rows, [[0, 1, 2, 3, 4]])
    weight = double.head.weight
    for score_end in (True, False):
        scorer = DONOD(lr=1e-2, score_end=score_end)
        for rendered, measured in zip(rows, found, strict=True):
            value = scorer.reduce({"full": measured.stats(scorer, double.head_weight_sq_norm)})
            with torch.inference_mode():
                states = double.hidden(torch.tensor(rendered.ids[None].astype(np.int64)))[0]
            keep = np.ones(len(rendered.targets), bool) if score_end else ~rendered.is_end
            leaf = weight.clone().requires_grad_(True)
            logits = states[rendered.positions[keep]].clone() @ leaf.T
            targets = torch.tensor(rendered.targets[keep].astype(np.int64))
            torch.nn.functional.cross_entropy(logits, targets).backward()
            after = weight - 1e-2 * leaf.grad
            assert value["nod"] == pytest.approx(float((after - weight).norm()), rel=1e-10)
            assert value["don"] == pytest.approx(float(after.norm() - weight.norm()), rel=1e-8)
            assert value["grad_norm"] == pytest.approx(float(leaf.grad.norm()), rel=1e-10)


def test_company_in_a_pass_changes_no_bit(resolved, rows):
    model = load_model(resolved, "cpu", "float32")
    batches = [[4, 2, 1], [0, 3]]
    alone, _ = measure(model, rows, batches, PassRequest.of([Likelihood()]))
    among, _ = measure(model, rows, batches)
    vectors, _ = measure(model, rows, batches, PassRequest.of([Embedding()]))
    for a, b, c in zip(alone, among, vectors, strict=True):
        assert a.nll.tobytes() == b.nll.tobytes()
        assert a.entropy.tobytes() == b.entropy.tobytes()
        assert b.pooled[Stat.MEAN_HIDDEN].tobytes() == c.pooled[Stat.MEAN_HIDDEN].tobytes()
        assert a.inner is None and a.pooled == {} and set(c.pooled) == {Stat.MEAN_HIDDEN}
        assert np.isnan(c.nll).all()


def test_bfloat16_stays_within_its_tolerance(tiny_model, resolved, rows):
    found, _ = measure(load_model(resolved, "cpu", "bfloat16"), rows, [[0, 1, 2, 3, 4]])
    run = full_logits(tiny_model, torch.bfloat16)
    for rendered, measured in zip(rows, found, strict=True):
        nll, _ = reference(run, rendered)
        assert measured.nll.mean() == pytest.approx(nll.mean(), abs=2e-2)


class Exhausted:
    """A model whose allocator refuses batches of more than ``limit`` rows."""

    def __init__(self, model, limit, error):
        self.model, self.limit, self.error = model, limit, error

    def __getattr__(self, name):
        return getattr(self.model, name)

    def hidden(self, ids):
        if len(ids) > self.limit:
            raise self.error
        return self.model.hidden(ids)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
        ),
    ],
)
def test_a_batch_without_room_is_halved_and_counted(double, rows, error):
    whole, untouched = measure(double, rows, [[0, 1, 2, 3, 4]])
    halved, forward = measure(Exhausted(double, 2, error), rows, [[0, 1, 2, 3, 4]])
    assert untouched.n_split == 0 and forward.n_split == 5
    for a, b in zip(whole, halved, strict=True):
        np.testing.assert_allclose(a.nll, b.nll, rtol=1e-10)


def test_a_row_without_room_is_given_up_alone(double, rows):
    found, _ = measure(Exhausted(double, 0, MemoryError()), rows, [[0, 1]] + [[2, 3, 4]])
    assert found == [None] * 5


def test_other_errors_are_not_taken_for_a_lack_of_memory(double, rows):
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="broken"):
        measure(Exhausted(double, 0, RuntimeError("broken")), rows, [[0]] + [[1, 2, 3, 4]])


def test_pooling_in_blocks_is_pooling_at_once(monkeypatch):
    hidden = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0))
    lengths = [7, 3, 1, 5, 2]
    at_once = pool(hidden, lengths, Stat.MEAN_HIDDEN)
    monkeypatch.setattr("curate.models.passes.forward.POOL_ELEMENTS", 1)
    assert torch.equal(pool(hidden, lengths, Stat.MEAN_HIDDEN), at_once)
    wanted = torch.stack([h[:n].double().mean(0) for h, n in zip(hidden, lengths, strict=True)])
    torch.testing.assert_close(at_once, wanted)


def real_examples(folder):
    texts = []
    for name in ("ni_pool", "math_gsm8k_solutions", "code_alpaca", "alpaca_quality"):
        table = pq.read_table(folder / f"{name}.parquet", columns=["prompt", "response"])
        texts += [(r["prompt"], r["response"]) for r in table.slice(100, 15).to_pylist()]
    return examples_of(texts)


def test_sixty_real_rows_agree_with_the_obvious_loop(realdata, realmodel):
    model = load_model(resolve_model(str(realmodel)), "cpu", "float32")
    run = full_logits(realmodel, torch.float32)
    renderer = Renderer(model.tokenizer, 1024)
    examples = real_examples(realdata)
    found = {}
    for scorer in (Likelihood(), IFD()):
        for segment in scorer.segments():
            rows = renderer.render(examples, segment.rendering)
            assert not [row for row in rows if isinstance(row, str)]
            lengths = np.array([len(row.ids) for row in rows])
            batches = plan_batches(lengths, [e.id for e in examples], 2048)
            measured, _ = measure(
                model, rows, [b.tolist() for b in batches], PassRequest.of([scorer])
            )
            wanted = [reference(run, row) for row in rows]
            found[scorer.name, segment.name] = (rows, measured, wanted)
    rows, measured, wanted = found["likelihood", "full"]
    for row, got, (nll, entropy) in zip(rows, measured, wanted, strict=True):
        value = Likelihood().reduce({"full": got.stats(Likelihood(), None)})
        keep = ~row.is_end
        assert value["mean_logp"] == pytest.approx(-nll[keep].mean(), abs=1e-5)
        assert value["mean_entropy"] == pytest.approx(entropy[keep].mean(), abs=1e-5)
        assert value["sum_logp"] == pytest.approx(-nll[keep].sum(), rel=1e-5)
    check_real_ratios(found)


def check_real_ratios(found):
    scorer = IFD()
    for n in range(len(found["ifd", "full"][0])):
        stats, losses = {}, []
        for name in ("full", "response"):
            rows, measured, wanted = found["ifd", name]
            stats[name] = measured[n].stats(scorer, None)
            losses.append(wanted[n][0][~rows[n].is_end])
        value = scorer.reduce(stats)
        given, alone = losses
        alone = alone[: len(given)] if value["truncated"] else alone
        assert value["ratio_loss"] == pytest.approx(given.mean() / alone.mean(), rel=1e-5)
        assert value["ratio_ppl"] == pytest.approx(math.exp(given.mean() - alone.mean()), rel=1e-5)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(resolved, rows):
    wanted, _ = measure(load_model(resolved, "cpu", "float32"), rows, [[0, 1, 2, 3, 4]])
    found, _ = measure(load_model(resolved, "cuda", "float32"), rows, [[0, 1, 2, 3, 4]])
    for a, b in zip(wanted, found, strict=True):
        np.testing.assert_allclose(a.nll, b.nll, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(a.entropy, b.entropy, rtol=1e-4, atol=1e-4)
        assert a.sq_norm[True] == pytest.approx(b.sq_norm[True], rel=1e-3)
