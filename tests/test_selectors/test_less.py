"""The gradient score against gradients computed one by one, and its parts by hand."""

import json
import math
import shutil

import numpy as np
import pytest

import curate as cu
from curate.contracts import Budget, Need, Vectors, View
from curate.errors import BudgetError, ConfigError
from curate.models.load import resolve_model
from curate.registry import get_selector
from curate.train.warm_up import WarmUp

LESS = get_selector("less")


def view_of(pool, target, sources=None, tokens=None):
    def ids(n):
        return np.array([f"{row:04d}".encode() for row in range(n)])

    pool, target = np.asarray(pool, np.float32), np.asarray(target, np.float32)
    beside = View(
        ids(len(target)), vectors_by_column={"gradients.sgd": Vectors(target)},
        sources=None if sources is None else np.array(sources), source_names=("maths", "poems"),
    )  # fmt: skip
    return View(
        ids(len(pool)), vectors_by_column={"gradients.adam": Vectors(pool)}, target=beside,
        tokens=None if tokens is None else np.array(tokens),
    )  # fmt: skip


def choose(view, budget, **settings):
    return LESS("run", **settings).select(view, Budget.parse(budget), np.random.default_rng(0))


def test_means_before_the_product_are_pairwise_scores():
    """And groups of unequal size: the highest mean over groups, not over target examples."""
    rng = np.random.default_rng(0)
    pool, target = rng.normal(size=(50, 12)), rng.normal(size=(9, 12))
    pool, target = pool.astype(np.float32), target.astype(np.float32)
    sources = [0, 0, 0, 0, 0, 0, 0, 1, 1]
    pairs = np.array([[float(a.astype(float) @ b.astype(float)) for b in target] for a in pool])
    wanted = np.maximum(pairs[:, :7].mean(axis=1), pairs[:, 7:].mean(axis=1))
    chosen = choose(view_of(pool, target, sources), 50)
    assert chosen.indices.tolist() == np.argsort(-wanted, kind="stable").tolist()
    assert chosen.gains == pytest.approx(np.sort(wanted)[::-1], rel=1e-6, abs=2e-9)
    together = choose(view_of(pool, target, sources), 50, by_source=False)
    assert together.gains == pytest.approx(np.sort(pairs.mean(axis=1))[::-1], rel=1e-6, abs=2e-9)
    assert chosen.reasons[0].split(" with ")[1] in ("target source maths", "target source poems")


def test_zero_and_undefined_gradients_are_said():
    chosen = choose(view_of([[0, 0], [1, 0], [np.nan, 1], [-1, 0]], [[1, 0], [np.nan, 0]]), 2)
    assert chosen.indices.tolist() == [1, 0]
    assert chosen.excluded == {"gradient is not finite": 1}
    assert chosen.warnings == (
        (
            "1 of the 2 selected examples have a gradient of 0 and so a score of 0: nothing is known "
            "of them; ask for fewer"
        ),
    )
    with pytest.raises(BudgetError, match="only 3 are eligible"):
        choose(view_of([[0, 0], [1, 0], [np.nan, 1], [-1, 0]], [[1, 0]]), 4)
    with pytest.raises(ConfigError, match="no gradient of the target set is finite"):
        choose(view_of([[1, 0]], [[np.nan, 0]]), 1)


def test_a_token_budget_takes_as_many_as_fit():
    view = view_of([[3, 0], [2, 0], [1, 0]], [[1, 0]], tokens=[10, 20, 30])
    assert choose(view, "35tok").indices.tolist() == [0, 1]


def test_what_it_needs_and_what_it_refuses():
    config = {"run": "warm", "dim": 64, "seed": 3, "template": "plain"}
    less = LESS("warm", dim=64, projection_seed=3, template="plain")
    assert less.requires() == {"gradients": Need("adapter-gradients", "target", config)}
    with pytest.raises(ConfigError, match=r"less\.run is empty; give the folder"):
        LESS(" ")
    with pytest.raises(ConfigError, match=r"less\.dim must be at least 1, got 0"):
        LESS("warm", dim=0)
    with pytest.raises(BudgetError, match="less needs a budget"):
        LESS("warm").select(view_of([[1, 0]], [[1, 0]]), None, np.random.default_rng(0))


# For real ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def warm(tmp_path_factory, tiny_model):
    """A pool, a target set of two sources, and a short run of an adapter with two checkpoints."""
    from curate.train.api import train
    from curate.train.data import rows_of_pool
    from curate.train.recipes import build_config

    folder = tmp_path_factory.mktemp("less")

    def written(name, rows):
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def kind(n, word):
        return {"prompt": f"{word} {n}", "response": f"{word} {word} {n}" * (1 + n % 3)}

    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(written("pool.jsonl", [kind(n, "cat" if n % 2 else "poem") for n in range(14)]))
    pool.target.add("cats", written("cats.jsonl", [kind(n, "cat") for n in (77, 78, 79)]))
    settings = {
        "lora.r": 2, "lora.dropout": 0.1, "length.max_steps": 4, "optimiser.lr": 3e-3,
        "optimiser.schedule": "linear", "data.template": "plain", "data.batch_tokens": 60,
        "watch.save_every": 2, "watch.keep": 2, "compute.device": "cpu",
    }  # fmt: skip
    train(build_config(str(tiny_model), settings), rows_of_pool(pool.store), folder / "run")
    return pool, folder / "run"


def one_by_one(pool, run, model, dim):
    """Score every pool example with every target example at every checkpoint, one gradient at a time."""
    import torch
    from safetensors.torch import load_file

    from curate.contracts import Rendering
    from curate.models.load import load_tokenizer, resolve_model
    from curate.models.passes.projection import BLOCK, signs
    from curate.models.text.render import Renderer
    from curate.train.data import rows_of_pool
    from curate.train.model import load_trained_model
    from curate.train.recipes import build_config

    resolved = resolve_model(str(model))
    renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length)
    config = build_config(str(model), {"lora.r": 2, "compute.dtype": "float64"})
    made = load_trained_model(resolved, config, torch.device("cpu"))
    made.whole.eval()
    parameters = dict(made.named_parameters())

    def projected(gradients):
        total = torch.zeros(dim, dtype=torch.float64)
        for number, gradient in enumerate(gradients):
            flat = gradient.flatten()
            for block in range(math.ceil(len(flat) / BLOCK)):
                part = flat[block * BLOCK : (block + 1) * BLOCK]
                total += part @ signs(len(part), dim, (0, number, block)).double()
        return total / total.norm()

    def gradients_of(example):
        [row] = renderer.render([example], Rendering("plain"))
        logits = made.whole(input_ids=torch.tensor([row.ids.tolist()])).logits[0]
        targets = torch.tensor(row.targets.astype(np.int64))
        nll = torch.nn.functional.cross_entropy(logits[row.positions.tolist()], targets)
        return torch.autograd.grad(nll, list(parameters.values()))

    examples = {row.id: row.example for row in rows_of_pool(pool.store)}
    wanted = [row.example for row in rows_of_pool(pool.store.target("cats"))]
    # the run's rates: 4 steps, linear, one step of warm-up
    rates = [3e-3, 3e-3, 3e-3 * 2 / 3, 3e-3 / 3]
    shares = {2: sum(rates[:2]) / sum(rates), 4: sum(rates[2:]) / sum(rates)}
    scores = dict.fromkeys(examples, 0.0)
    for step, share in shares.items():
        folder = run / "checkpoints" / f"step-{step:08d}"
        weights = load_file(folder / "weights.safetensors")
        adam = load_file(folder / "optimiser.safetensors")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])

        def shaped(gradients, adam=adam):
            for name, gradient in zip(parameters, gradients, strict=True):
                m = 0.9 * adam[f"{name}:exp_avg"].double() + 0.1 * gradient
                v = 0.999 * adam[f"{name}:exp_avg_sq"].double() + 0.001 * gradient**2
                yield m / (v + 1e-8) ** 0.5

        towards = [projected(gradients_of(example)) for example in wanted]
        for name, example in examples.items():
            own = projected(list(shaped(gradients_of(example))))
            scores[name] += share * float(np.mean([float(own @ other) for other in towards]))
    return scores


@pytest.mark.slow
def test_scores_are_those_of_gradients_computed_one_by_one(warm, tiny_model):
    pool, run = warm
    chosen = pool.select(
        "less", budget="14", target="cats", model=str(tiny_model), device="cpu", dtype="float64",
        settings={"less.run": str(run), "less.dim": "300", "less.template": "plain"},
    )  # fmt: skip
    slow = one_by_one(pool, run, tiny_model, 300)
    rows = chosen.rows()
    gains = dict(zip(rows.column("id").to_pylist(), rows.column("gain").to_pylist(), strict=True))
    assert gains == pytest.approx(slow, abs=2e-6)
    assert len(set(np.round(list(gains.values()), 4))) > 7  # and they do differ


@pytest.mark.slow
def test_wrong_runs_are_named(warm, tiny_model, tmp_path):
    pool, run = warm

    def select(folder):
        pool.select(
            "less", budget="2", target="cats", model=str(tiny_model), device="cpu", workers=1,
            settings={"less.run": str(folder), "less.dim": "8", "less.template": "plain"},
        )  # fmt: skip

    def changed(name, file, change):
        copy = shutil.copytree(run, tmp_path / name)
        document = json.loads((copy / file).read_text())
        change(document)
        (copy / file).write_text(json.dumps(document))
        return copy

    with pytest.raises(
        ConfigError, match=r"holds no run with checkpoints; train one: curate train"
    ):
        select(tmp_path)
    resolved = resolve_model(str(tiny_model))

    def no_lora(document):
        document["config"]["settings"]["method"]["lora"] = None

    with pytest.raises(ConfigError, match="trained all weights, and gradients of an adapter are"):
        WarmUp.read(str(changed("whole", "record.json", no_lora)), resolved, "cpu", "float32")
    other = changed("other", "run.json", lambda document: document.update(model="another"))
    with pytest.raises(ConfigError, match="not the model .* given here; pass --model"):
        WarmUp.read(str(other), resolved, "cpu", "float32")
    shares = WarmUp.read(str(run), resolved, "cpu", "float32").shares
    assert list(shares) == [2, 4] and sum(shares.values()) == pytest.approx(1)
    assert shares[2] == pytest.approx(2 / 3)  # rates of 1, 1, 2/3 and 1/3 of the highest

    def stopped_at_4_of_10(document):
        document["outcome"].update(planned_steps=10, stopped_early=True)

    early = changed("early", "record.json", stopped_at_4_of_10)
    shares = WarmUp.read(str(early), resolved, "cpu", "float32").shares
    assert shares[2] == pytest.approx((1 + 1) / (1 + 1 + 8 / 9 + 7 / 9))

    def stopped_and_unrecorded(document):
        del document["outcome"]["planned_steps"]
        document["outcome"]["stopped_early"] = True

    old = changed("old", "record.json", stopped_and_unrecorded)
    with pytest.raises(ConfigError, match="stopped early, and an older version did not record"):
        WarmUp.read(str(old), resolved, "cpu", "float32")
