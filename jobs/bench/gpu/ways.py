"""Our pass in its variants, and what people write instead, over the same rows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from curate.contracts import ForwardScorer, Stat
from curate.models.batch import plan_batches
from curate.models.load import LoadedModel
from curate.models.passes.forward import Forward, PassRequest
from curate.models.passes.prefixes import plan_shared
from curate.models.passes.vllm_forward import VllmForward
from curate.models.text.render import Rendered
from curate.scorers.donod import DONOD
from curate.scorers.embedding import Embedding
from curate.scorers.likelihood import Likelihood

if TYPE_CHECKING:
    from torch import Tensor

LIKELIHOOD = (Likelihood(template="plain"),)
WITH_EMBEDDING = (*LIKELIHOOD, Embedding(template="plain"))
WITH_DONOD = (*WITH_EMBEDDING, DONOD(template="plain"))


def planned(
    rows: Sequence[Rendered], batch_tokens: int, *, packed: bool, shared: bool = False
) -> list[list[Rendered]]:
    """Return rows in the batches a worker would run."""
    lengths = np.array([len(row.ids) for row in rows])
    ids = [f"{number:08x}" for number in range(len(rows))]
    plan = (
        plan_shared(rows, ids, batch_tokens).batches
        if shared
        else plan_batches(lengths, ids, batch_tokens, packed=packed)
    )
    return [[rows[n] for n in batch.tolist()] for batch in plan]


def our_pass(
    model: LoadedModel,
    rows: Sequence[Rendered],
    scorers: tuple[ForwardScorer, ...],
    batch_tokens: int,
    *,
    packed: bool,
    fused: bool = True,
    shared: bool = False,
) -> Callable[[], list[dict[str, Any]]]:
    """Return the pass of some scorers with their reductions, as a worker runs it."""
    forward = Forward(model, packed, fused, shared)
    batches = planned(rows, batch_tokens, packed=packed, shared=shared)
    needs_norm = any(Stat.HEAD_GRAM in scorer.emits for scorer in scorers)
    return reduced(forward, batches, scorers, model.head_weight_sq_norm if needs_norm else None)


def reduced(
    forward: Forward | VllmForward,
    batches: Sequence[Sequence[Rendered]],
    scorers: tuple[ForwardScorer, ...],
    norm: float | None = None,
) -> Callable[[], list[dict[str, Any]]]:
    """Return a pass over given batches with the reductions of some scorers."""
    wants = PassRequest.of(scorers)

    def run() -> list[dict[str, Any]]:
        found = []
        for _, _, measured in forward.run_all(batches, wants):
            if measured is None:
                raise MemoryError("a row does not fit in memory")
            columns: dict[str, Any] = {}
            for scorer in scorers:
                columns |= scorer.reduce({"full": measured.stats(scorer, norm)})
            found.append(columns)
        return found

    return run


def bare(
    model: Any, rows: Sequence[Rendered], batch_tokens: int, device: str
) -> Callable[[], None]:
    """Return ``model()`` over our own padded batches with full logits and nothing after it."""
    batches = [_padded(batch, device) for batch in planned(rows, batch_tokens, packed=False)]

    def run() -> None:
        with torch.inference_mode():
            for ids in batches:
                model(input_ids=ids, use_cache=False)

    return run


def backbone_alone(
    model: LoadedModel,
    rows: Sequence[Rendered],
    batch_tokens: int,
    *,
    packed: bool,
) -> Callable[[], None]:
    """Return the layers without the head, over our own batches: what no pass can undercut."""
    from curate.models.passes.packing import Boundaries, packed_hidden

    batches = planned(rows, batch_tokens, packed=packed)
    if not packed:
        padded = [_padded(batch, model.device) for batch in batches]

        def run_padded() -> None:
            with torch.inference_mode():
                for ids in padded:
                    model.hidden(ids)

        return run_padded
    ready = []
    for batch in batches:
        ids = torch.from_numpy(np.concatenate([row.ids for row in batch]).astype(np.int64))
        places = torch.cat([torch.arange(len(row.ids)) for row in batch])
        lengths = tuple(len(row.ids) for row in batch)
        starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        ready.append(
            (ids.to(model.device), places.to(model.device), starts.to(model.device), lengths)
        )

    def run_packed() -> None:
        with torch.inference_mode():
            for ids, places, starts, lengths in ready:
                packed_hidden(model.backbone, ids, places, Boundaries(starts, lengths))

    return run_packed


def script(
    model: Any, rows: Sequence[Rendered], size: int, device: str
) -> Callable[[], list[dict[str, float]]]:
    """Return the script people write: rows in their order, padded batches with a mask, full logits."""

    def run() -> list[dict[str, float]]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(rows), size):
                found += _script_batch(model, rows[start : start + size], device)
        return found

    return run


def _script_batch(model: Any, rows: Sequence[Rendered], device: str) -> list[dict[str, float]]:
    ids = _padded(rows, device)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for number, row in enumerate(rows):
        mask[number, : len(row.ids)] = 1
        keep = ~row.is_end
        at = torch.from_numpy(row.positions[keep].astype(np.int64)).to(device)
        labels[number, at] = torch.from_numpy(row.targets[keep].astype(np.int64)).to(device)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    logp = torch.log_softmax(logits, dim=-1)
    counts = labels != -100
    chosen = logp.gather(2, labels.clamp(min=0)[..., None]).squeeze(2)
    entropy = -(logp.exp() * logp).sum(dim=-1)
    return [
        {
            "mean_logp": float(chosen[n][counts[n]].mean()),
            "mean_entropy": float(entropy[n][counts[n]].mean()),
        }
        for n in range(len(rows))
    ]


def _padded(rows: Sequence[Rendered], device: str) -> "Tensor":
    ids = np.zeros((len(rows), max(len(row.ids) for row in rows)), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
    return torch.from_numpy(ids).to(device)
