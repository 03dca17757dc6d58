"""Figure of DONOD's closed form: what it adds to a pass, against taking the step for every example."""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.kernel import SOLUTIONS, TEMPLATE, Ours, bare_model, load, plan
from jobs.bench.paired import fixed_threads, listed

if TYPE_CHECKING:
    from torch import Tensor

    from curate.models.text.render import Rendered

LR: Final = 1e-2
AGREEMENT: Final = 1e-3  # relative, of NOD: our pass computes in float32, the step in float64
LEAST_SHARE: Final = 0.01  # of the pass: a difference of two times below it is noise


def donod_step(bench: Bench) -> Figure:
    """Time of literal SGD steps, by what the closed form adds to a pass over the same rows."""
    from curate.scorers.donod import DONOD
    from curate.scorers.embedding import Embedding
    from curate.scorers.likelihood import Likelihood

    folder = bench.inputs.model()
    with fixed_threads():
        forward = load(folder)
        planned = plan(forward, bench.inputs.examples(SOLUTIONS, bench.sizes.donod // 4))
        others = (Likelihood(template=TEMPLATE), Embedding(template=TEMPLATE))
        alone = Ours.of(forward, others)
        together = Ours.of(forward, (*others, DONOD(lr=LR, template=TEMPLATE)))
        steps = Steps.of(folder)
        work = [[planned.rows[n] for n in batch] for batch in planned.batches]
        apart = max(_difference(together.run(rows), steps.whole(rows)) for rows in work)
        sides = (alone.run, together.run, steps.head, steps.whole)
        spent = [_processor_times(sides, work, run) for run in range(bench.sizes.runs)]
    without, with_donod, head, whole = (
        statistics.median(side) for side in zip(*spent, strict=True)
    )
    added = max(with_donod - without, LEAST_SHARE * without)
    agreed = apart <= AGREEMENT
    n = len(planned.rows)
    detail = (
        f"a row takes {1000 * added / n:,.2f} ms in a pass of {1000 * with_donod / n:,.2f}, "
        f"{1000 * whole / n:,.2f} by a step of the whole model and {1000 * head / n:,.2f} by one of "
        f"its head alone, which is {head / added:,.1f} x what is added; all of the pass is "
        f"{whole / with_donod:,.1f} x and {head / with_donod:,.1f} x faster than these; passes of "
        f"{listed((side[1] for side in spent), 2)} s of processor time; NOD differs by at most "
        f"{apart:.1e}{'' if agreed else ', which is too much for a comparison'}; {planned}"
    )
    reference = (
        "time of copying the model, one SGD step of it on one example and the norms of its head, in "
        "float64, by what DONOD adds to the pass of likelihood + entropy + embedding"
    )
    goal = Goal(">=", 20, "x")
    return judged("donod-step", whole / added, goal, reference, detail, also=agreed)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """DON and NOD by their definition: weights before, one step on one example, weights after."""

    model: Any
    stepped: Any

    @classmethod
    def of(cls, folder: Path) -> "Steps":
        """Load a model twice in float64: to be copied, and with a head of its own to be stepped."""
        model = bare_model(folder, "float64")
        head_only = copy.deepcopy(model)
        output = head_only.get_output_embeddings()
        output.weight = _parameter(output.weight)
        untied = copy.deepcopy(model).requires_grad_(True)
        untied.get_output_embeddings().weight = _parameter(output.weight)
        return cls(untied, head_only)

    def whole(self, rows: "Sequence[Rendered]") -> list[dict[str, Any]]:
        """Step every weight of a copy of the model."""
        values = []
        for row in rows:
            model = copy.deepcopy(self.model)
            values.append(_step(model, list(model.parameters()), row))
        return values

    def head(self, rows: "Sequence[Rendered]") -> list[dict[str, Any]]:
        """Step the head alone, and put its weight back."""
        weight = self.stepped.get_output_embeddings().weight
        before = weight.detach().clone()
        values = []
        for row in rows:
            values.append(_step(self.stepped, [weight], row))
            weight.data.copy_(before)
            weight.grad = None
        return values


def _step(model: Any, weights: "list[Tensor]", row: "Rendered") -> dict[str, Any]:
    import torch

    weight = model.get_output_embeddings().weight
    before = weight.detach().clone()
    ids = torch.from_numpy(row.ids[None].astype(np.int64))
    logits = model(input_ids=ids, use_cache=False).logits[0]
    scored = logits[torch.from_numpy(row.positions.astype(np.int64))]
    targets = torch.from_numpy(row.targets.astype(np.int64))
    torch.nn.functional.cross_entropy(scored, targets).backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(weights, lr=LR).step()
    after = weight.detach()
    return {"don": float(before.norm() - after.norm()), "nod": float((before - after).norm())}


def _parameter(weight: "Tensor") -> Any:
    import torch

    return torch.nn.Parameter(weight.detach().clone())


def _difference(ours: Sequence[dict[str, Any]], literal: Sequence[dict[str, Any]]) -> float:
    return max(
        float(abs(mine["nod"] / other["nod"] - 1))
        for mine, other in zip(ours, literal, strict=True)
    )


def _processor_times(
    sides: "Sequence[Callable[[Sequence[Rendered]], object]]",
    work: "Sequence[Sequence[Rendered]]",
    run: int,
) -> list[float]:
    """Return seconds of the processor of each side over all work, in turns that change each time."""
    totals = [0.0] * len(sides)
    for number, piece in enumerate(work):
        for turn in range(len(sides)):
            side = (run + number + turn) % len(sides)
            start = time.process_time()
            sides[side](piece)
            totals[side] += time.process_time() - start
    return totals
