"""Evaluates a model on held-out examples: NLL by the scoring kernel, and exact match by generation."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from curate.errors import TrainError
from curate.models.batch import plan_batches
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.head import HeadWants
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from curate.models.load import LoadedModel
    from curate.train.data import Prepared
    from curate.train.model import TrainedModel
    from curate.train.processes import Processes


@final
@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One evaluation of one set, per example in order of id.

    Parameters
    ----------
    name, step
        Set, and optimiser steps done.
    ids
        Of the examples.
    nll
        Summed NLL in nats of each example's response, ends of turns included, (n,).
    n_tokens
        Response tokens of each, (n,).
    correct
        Whether the extracted answer is the reference's, (n,), or None if nothing was generated.
    """

    name: str
    step: int
    ids: tuple[str, ...]
    nll: Float[np.ndarray, " n"]
    n_tokens: Int[np.ndarray, " n"]
    correct: Bool[np.ndarray, " n"] | None = None

    @property
    def mean_nll(self) -> float:
        """Mean NLL in nats per response token; lower is better."""
        return float(self.nll.sum() / self.n_tokens.sum())

    @property
    def perplexity(self) -> float:
        """Exponential of the mean NLL."""
        return math.exp(min(self.mean_nll, 700.0))

    @property
    def exact_match(self) -> float | None:
        """Share of examples with the right answer; higher is better."""
        return None if self.correct is None else float(self.correct.mean())

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, without the arrays."""
        return {
            "name": self.name, "step": self.step, "n_examples": len(self.ids),
            "n_tokens": int(self.n_tokens.sum()), "nll": self.mean_nll,
            "perplexity": self.perplexity, "exact_match": self.exact_match,
        }  # fmt: skip


@contextmanager
def evaluating(model: "TrainedModel") -> Iterator[None]:
    """Switch a model to evaluation inside the block: no dropout, no recomputation."""
    was_training = model.whole.training
    model.whole.eval()
    try:
        with model.autocast():
            yield
    finally:
        model.whole.train(was_training)


def evaluate(
    model: "TrainedModel",
    prepared: "Prepared",
    processes: "Processes",
    *,
    name: str,
    step: int,
    batch_tokens: int,
) -> Evaluation:
    """Return the NLL of each example's response; the processes share the work.

    A pure forward: one pass by the same kernel as scoring, sums in float64. Raises `TrainError` where an
    example has no finite NLL: a mean without it would be of other examples than that of another run.
    """
    with evaluating(model):
        nll = response_nll(model, prepared.rendered, batch_tokens, processes)
    missing = np.flatnonzero(~np.isfinite(nll)).tolist()
    if missing:
        raise TrainError(
            f"{len(missing)} of {len(nll)} examples of evaluation set {name!r} have no finite loss after step "
            f"{step} (first: {prepared.rows[missing[0]].id}): training has diverged, or they do not fit into "
            "memory; lower the learning rate with --lr, or set a smaller --micro-tokens"
        )
    return Evaluation(name, step, tuple(row.id for row in prepared.rows), nll, prepared.n_targets)


def response_nll(
    model: "TrainedModel",
    rendered: "Sequence[Rendered]",
    batch_tokens: int,
    processes: "Processes | None" = None,
) -> Float[np.ndarray, " n"]:
    """Do as `summed_nll` with a model in training; the caller has switched it to evaluation."""
    return summed_nll(model.for_scoring(), rendered, batch_tokens, processes)


def summed_nll(
    loaded: "LoadedModel",
    rendered: "Sequence[Rendered]",
    batch_tokens: int,
    processes: "Processes | None" = None,
) -> Float[np.ndarray, " n"]:
    """Return the summed NLL in nats of each row, ends of turns included; NaN if one does not fit.

    Without ``processes`` this process does all of it.
    """
    lengths = np.array([len(row.ids) for row in rendered], dtype=np.int64)
    batches = plan_batches(lengths, [f"{i:012d}" for i in range(len(rendered))], batch_tokens)
    if processes is not None:
        batches = batches[processes.index :: processes.count]
    rows = ([rendered[row] for row in batch] for batch in batches)
    nll = np.zeros(len(rendered))
    for number, place, measured in Forward(loaded).run_all(rows, PassRequest(HeadWants(), ())):
        nll[batches[number][place]] = math.nan if measured is None else measured.nll.sum()
    return nll if processes is None else processes.add(nll)


def evaluation_tensors(evaluations: "Sequence[Evaluation]") -> dict[str, torch.Tensor]:
    """Return the arrays of some evaluations by ``name:step:array``."""
    tensors = {}
    for evaluation in evaluations:
        key = f"{evaluation.name}:{evaluation.step}"
        tensors[f"{key}:nll"] = torch.from_numpy(evaluation.nll)
        if evaluation.correct is not None:
            tensors[f"{key}:correct"] = torch.from_numpy(evaluation.correct)
    return tensors


def evaluations_from(
    tensors: "dict[str, torch.Tensor]", prepared: "dict[str, Prepared]"
) -> list[Evaluation]:
    """Return what `evaluation_tensors` was given, of the sets in ``prepared``, in order of step."""
    evaluations = []
    for key in tensors:
        name, step, array = key.rsplit(":", 2)
        if array != "nll" or name not in prepared:
            continue
        correct = tensors.get(f"{name}:{step}:correct")
        rows = prepared[name]
        evaluations.append(
            Evaluation(
                name, int(step), tuple(row.id for row in rows.rows), tensors[key].numpy(),
                rows.n_targets, None if correct is None else correct.numpy(),
            )
        )  # fmt: skip
    order = list(prepared)
    return sorted(
        evaluations, key=lambda evaluation: (evaluation.step, order.index(evaluation.name))
    )
