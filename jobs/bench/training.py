"""Figures of training: the loop against a bare one, recording a trajectory, and S2L on what it left."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from jobs.bench.children import MIB, Spent, in_child, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.kernel import DTYPE, TEMPLATE, Ours, bare_model, load, padded, plan
from jobs.bench.libraries import IGNORED
from jobs.bench.paired import THREADS, fixed_threads, interleave, listed

if TYPE_CHECKING:
    from torch import Tensor

    from curate.models.text.render import Rendered
    from curate.train.config import TrainConfig
    from curate.train.data import TrainRow
    from curate.train.model import TrainedModel
    from curate.train.record import TrainRecord

POOL: Final = "math_gsm8k_train"
BATCH_TOKENS: Final = 4_096
LR: Final = 3e-4
POINTS: Final = 12
CLUSTERS: Final = 100
MEMORY_GOAL: Final = 1024 * MIB


def loop(bench: Bench) -> Figure:
    """Trained tokens per second of the whole loop, by those of a bare one on the same rows."""
    goal = Goal(">=", 0.9, "x")
    folder = bench.inputs.model()
    rows = train_rows(bench, bench.sizes.trained)
    ours, bare, waste = [], [], 0.0
    with fixed_threads():
        batches = _sorted_batches(folder, rows)
        step = min(BATCH_TOKENS, sum(len(row.ids) for batch in batches for row in batch))
        for number in range(bench.sizes.runs):
            first = number % 2 == 0
            if first:
                bare.append(_bare_rate(folder, batches))
            with bench.profiled():
                cost = trained(folder, rows, step, bench.inputs.work).cost
            ours.append(cost.tokens / cost.seconds)
            waste = cost.padding
            if not first:
                bare.append(_bare_rate(folder, batches))
    ratios = [o / b for o, b in zip(ours, bare, strict=True)]
    fits = waste < 0.05
    detail = (
        f"{listed(ratios, 3)}; {statistics.median(ours):,.0f} against {statistics.median(bare):,.0f} "
        f"tokens/s; {len(rows)} rows, steps of {step:,} tokens, AdamW, {DTYPE}, {THREADS} "
        f"thread; {waste:.1%} of our tokens were padding (goal < 5%{')' if fits else ', FELL SHORT)'}"
    )
    reference = (
        "trained tokens/s of the loop (checkpoint and record included), by those of model(input_ids, "
        "labels).loss.backward() and AdamW over batches sorted by length"
    )
    return judged("train", statistics.median(ratios), goal, reference, detail, also=fits)


def trajectory(bench: Bench) -> Figure:
    """Time of one point of a trajectory, by that of one forward scoring pass over the same pool."""
    from curate.contracts import Rendering
    from curate.models.text.render import Renderer
    from curate.scorers.likelihood import Likelihood

    goal = Goal("<=", 1.1, "x")
    folder = bench.inputs.model()
    examples = bench.inputs.examples(POOL, bench.sizes.trained)
    with fixed_threads():
        forward = load(folder)
        planned = plan(forward, examples)
        ours = Ours.of(forward, (Likelihood(template=TEMPLATE),))
        model = _trained_model(folder)
        renderer = Renderer(forward.model.tokenizer, forward.model.resolved.max_length)
        blocks = [[examples[row] for row in batch] for batch in planned.batches]
        rendering = Rendering(TEMPLATE)

        def record(block: "Sequence[Any]") -> None:
            _measure(model, _rendered(renderer.render(block, rendering)))

        def score(block: "Sequence[Any]") -> None:
            ours.run(_rendered(renderer.render(block, rendering)))

        times = interleave(bench, record, score, blocks, bench.sizes.runs)
    reference = "time of recording one point of a trajectory, by that of a pass of likelihood"
    detail = f"{listed(times.costs, 3)}; {times.rates(planned.tokens)}; {planned}"
    return judged("trajectory", statistics.median(times.costs), goal, reference, detail)


def s2l(bench: Bench) -> Figure:
    """Select a tenth of a pool by S2L from trajectories in memory."""
    n = bench.sizes.stored
    done = [
        in_child(select_s2l, n, seed, profiler=bench.profiler)
        for seed in range(bench.sizes.repeats)
    ]
    times = [one.value[0].wall_s for one in done]
    over = max(one.peak_bytes - one.value[1] for one in done)
    fits = over <= MEMORY_GOAL
    detail = (
        f"{n:,} x {POINTS}, {CLUSTERS} clusters, k-means included; {listed(times)} s; peak "
        f"{over / MIB:,.0f} MiB over the input (goal <= 1 GiB{')' if fits else ', FELL SHORT)'}"
    )
    what = f"s2l, 10% of {n:,} examples by trajectories of {POINTS} points in memory"
    return judged("s2l", statistics.median(times), Goal("<=", 2, "s"), what, detail, also=fits)


def kmeans(bench: Bench) -> Figure:
    """Time of our k-means, by that of a bare faiss call with the same training points."""
    import faiss

    from curate.algorithms.kmeans import kmeans as ours
    from curate.contracts.view import Vectors

    losses = planted_losses(bench.sizes.stored, 0)

    def bare(_: None) -> None:
        trained = faiss.Kmeans(
            POINTS, CLUSTERS, niter=20, seed=0, min_points_per_centroid=1,
            max_points_per_centroid=256,
        )  # fmt: skip
        trained.train(losses)
        trained.index.search(losses, 1)

    def wrapped(_: None) -> None:
        ours(Vectors(losses), CLUSTERS, niter=20, seed=0, max_points_per_centroid=256)

    times = interleave(bench, wrapped, bare, [None], bench.sizes.runs)
    reference = "time of k-means with assignment of all rows, by that of faiss.Kmeans and a search"
    detail = f"{listed(times.costs, 3)}; {len(losses):,} x {POINTS}, {CLUSTERS} clusters"
    goal = Goal("<=", 1.3, "x")
    return judged("k-means", statistics.median(times.costs), goal, reference, detail)


# What the children run ---------------------------------------------------------------------------


def select_s2l(n: int, seed: int) -> tuple[Spent, int]:
    """Select by S2L; return what it took, and the memory held before it began."""
    from curate.contracts.budget import Budget
    from curate.contracts.view import Vectors, View
    from curate_selectors.s2l import S2L
    from jobs.bench.children import peak_bytes

    losses = planted_losses(n, seed)
    ids = np.char.zfill(np.arange(n).astype("S32"), 32)
    view = View(ids, vectors_by_column={"trajectory.losses": Vectors(losses)})
    import faiss  # noqa: F401  its import is not the selection's time

    before = peak_bytes()
    with stopwatch() as spent:
        S2L(n_clusters=CLUSTERS).select(view, Budget(n // 10), np.random.default_rng(seed))
    return spent, before


def planted_losses(n: int, seed: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return falling losses around as many planted curves as there are clusters, (n, points)."""
    rng = np.random.default_rng(seed)
    curves = np.sort(rng.gamma(2.0, 1.0, (CLUSTERS, POINTS)), axis=1)[:, ::-1]
    noise = rng.normal(0, 0.1, (n, POINTS))
    return (curves[rng.integers(CLUSTERS, size=n)] + noise).astype(np.float32)


# The two loops -----------------------------------------------------------------------------------


def train_rows(bench: Bench, n: int) -> "list[TrainRow]":
    """Return n real rows to train on."""
    from curate.train.data import TrainRow

    return [TrainRow(one.id, one) for one in bench.inputs.examples(POOL, n)]


def _config(folder: Path, batch_tokens: int = BATCH_TOKENS) -> "TrainConfig":
    from curate.train.recipes import build_config

    return build_config(
        str(folder),
        {
            "data.batch_tokens": batch_tokens, "data.template": TEMPLATE, "optimiser.lr": LR,
            "compute.threads": THREADS, "compute.device": "cpu", "length.epochs": 1,
        },
    )  # fmt: skip


def trained(folder: Path, rows: "Sequence[TrainRow]", step: int, work: Path) -> "TrainRecord":
    """Train for one epoch in steps of so many tokens by our loop."""
    from curate.train.api import train

    with tempfile.TemporaryDirectory(dir=work) as output:
        return train(_config(folder, step), rows, Path(output, "run"))


def rendered(folder: Path, rows: "Sequence[TrainRow]") -> "list[Rendered]":
    """Return the rows as they are trained on."""
    from curate.contracts import Rendering
    from curate.models.text.render import Renderer

    model = load(folder).model
    renderer = Renderer(model.tokenizer, model.resolved.max_length)
    return _rendered(renderer.render([row.example for row in rows], Rendering(TEMPLATE)))


def _sorted_batches(folder: Path, rows: "Sequence[TrainRow]") -> "list[list[Rendered]]":
    """Return the rows in batches of about as many tokens as ours, sorted by length."""
    return list(_cut(sorted(rendered(folder, rows), key=lambda one: len(one.ids))))


def _cut(rows: "Sequence[Rendered]") -> "Iterator[list[Rendered]]":
    batch: list[Rendered] = []
    for row in rows:
        if batch and (len(batch) + 1) * len(row.ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _bare_rate(folder: Path, batches: "Sequence[Sequence[Rendered]]") -> float:
    """Train as anybody would, full logits and all; return tokens per second, padding not counted."""
    import torch

    model = bare_model(folder).train().requires_grad_(True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR)
    began = time.perf_counter()
    for rows in batches:
        ids = padded(rows)
        labels = labels_of(rows, ids)
        optimiser.zero_grad()
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    spent = time.perf_counter() - began
    return sum(len(row.ids) for rows in batches for row in rows) / spent


def labels_of(rows: "Sequence[Rendered]", ids: "Tensor") -> "Tensor":
    """Return the labels that transformers computes the loss of padded ids by."""
    import torch

    labels = torch.full_like(ids, IGNORED)
    for number, row in enumerate(rows):
        at = torch.from_numpy(row.positions.astype(np.int64)) + 1
        inside = at < ids.shape[1]
        labels[number, at[inside]] = torch.from_numpy(row.targets.astype(np.int64))[inside]
    return labels


def _trained_model(folder: Path) -> "TrainedModel":
    import torch

    from curate.models.load import resolve_model
    from curate.train.model import load_trained_model

    config = _config(folder).resolved(has_chat_template=False)
    return load_trained_model(resolve_model(str(folder)), config, torch.device("cpu"))


def _measure(model: "TrainedModel", rows: "Sequence[Rendered]") -> None:
    from curate.models.batch import CPU_BATCH_TOKENS
    from curate.train.evaluation.evaluate import evaluating, response_nll

    with evaluating(model):
        response_nll(model, rows, CPU_BATCH_TOKENS)


def _rendered(rows: "Sequence[Rendered | str]") -> "list[Rendered]":
    return [row for row in rows if not isinstance(row, str)]
