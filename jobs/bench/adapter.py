"""Figure of the gradients that LESS compares, projected on the fly, against a training step."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.models.batch import CPU_BATCH_TOKENS
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.inputs import SEED
from jobs.bench.kernel import load, padded, plan
from jobs.bench.paired import fixed_threads, interleave, listed
from jobs.bench.training import LR, POOL, labels_of

if TYPE_CHECKING:
    from curate.models.passes.adapter_gradients import AdapterGradients, Batch, Moments
    from curate.models.text.render import Rendered
    from curate.train.model import TrainedModel

NUMBERS: Final = 8_192  # as published, and the scorer's default
ADAPTER: Final = {"lora.r": 8, "lora.alpha": 16, "lora.targets": "q_proj,k_proj,v_proj,o_proj"}
AGREEMENT: Final = 1e-4  # length of the difference of two vectors of length 1


def less(bench: Bench) -> Figure:
    """Gradients of each example by an adapter, projected, against training the adapter on them once."""
    folder = bench.inputs.model()
    with fixed_threads():
        examples = bench.inputs.examples(POOL, bench.sizes.loops)
        planned = plan(load(folder), examples, CPU_BATCH_TOKENS)
        batches = [[planned.rows[row] for row in batch] for batch in planned.batches]
        gradients, moments = _gradients(_with_adapter(folder))
        trained = _with_adapter(folder)

        def ours(given: "Sequence[Sequence[Rendered]]") -> None:
            gradients.run([_scored(rows) for rows in given], moments)

        def step(given: "Sequence[Sequence[Rendered]]") -> None:
            _train(trained, given)

        apart = _apart(gradients, moments, batches[-1])
        times = interleave(bench, ours, step, [batches], bench.sizes.repeats)
    share = trained.n_trained / (trained.n_parameters - trained.n_trained)
    agreed = apart <= AGREEMENT
    detail = (
        f"{listed(times.costs, 3)}; {times.rates(planned.tokens)}; {NUMBERS:,} numbers of a gradient and as many "
        f"of its step of Adam; an adapter of {trained.n_trained:,} weights, {share:.1%} of the model's, on the "
        f"attention, as published; by {apart:.1e} from the gradient of one row alone"
        f"{'' if agreed else ', which is too much for a comparison'}; {planned}"
    )
    reference = (
        "time of the projected gradients of every example, by that of model(input_ids, "
        "labels).loss.backward() and AdamW over the same batches with the same adapter"
    )
    value, goal = statistics.median(times.costs), Goal("<=", 3, "x")
    return judged("less", value, goal, reference, detail, also=agreed)


def _with_adapter(folder: Path) -> "TrainedModel":
    import torch

    from curate.models.load import resolve_model
    from curate.train.model import load_trained_model
    from curate.train.recipes import build_config

    config = build_config(str(folder), {**ADAPTER, "compute.device": "cpu"})
    resolved = config.resolved(has_chat_template=False)
    return load_trained_model(resolve_model(str(folder)), resolved, torch.device("cpu"))


def _gradients(model: "TrainedModel") -> "tuple[AdapterGradients, Mapping[str, Moments]]":
    """Return what takes the gradients, and moments of a size that a short run leaves."""
    import torch

    from curate.models.passes.adapter_gradients import AdapterGradients, Moments, adapter_modules

    model.whole.eval()
    modules = adapter_modules(model.whole)
    generator = torch.Generator().manual_seed(SEED)
    moments = {}
    for name, module in modules.items():
        size = module.weight.shape
        first = torch.randn(size, generator=generator) * 1e-3
        second = torch.rand(size, generator=generator) * 1e-6
        moments[name] = Moments(first, second, betas=(0.9, 0.999), eps=1e-8)
    return AdapterGradients(model.hidden, model.head, modules, NUMBERS, SEED), moments


def _train(model: "TrainedModel", batches: "Sequence[Sequence[Rendered]]") -> None:
    """Train the adapter as anybody would, a step a batch."""
    import torch

    parameters = [parameter for _, parameter in model.named_parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=LR)
    whole: Any = model.whole.train()
    for rows in batches:
        ids = padded(rows)
        optimiser.zero_grad()
        whole(input_ids=ids, labels=labels_of(rows, ids), use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()


def _apart(
    gradients: "AdapterGradients",
    moments: "Mapping[str, Moments]",
    rows: "Sequence[Rendered]",
) -> float:
    """Return how far the first row's projected gradient in a batch is from that of the row alone."""
    import torch

    from curate.models.passes.projection import project

    found = gradients.run([_scored(rows)], moments)[1][0]
    row = rows[0]
    states = gradients.hidden(padded([row]))[0, row.positions.astype(np.int64)]
    logits = gradients.head.finish(gradients.head.project(states))
    targets = torch.from_numpy(row.targets.astype(np.int64))
    loss = torch.nn.functional.cross_entropy(logits, targets)
    weights = [module.weight for module in gradients.modules.values()]
    alone = torch.zeros(NUMBERS)
    for number, gradient in enumerate(torch.autograd.grad(loss, weights)):
        alone += project(gradient.flatten()[None], NUMBERS, seed=SEED, number=number)[0]
    return float((found - alone / alone.norm()).norm())


def _scored(rows: "Sequence[Rendered]") -> "Batch":
    return rows, [np.ones(len(row.positions), dtype=bool) for row in rows]
