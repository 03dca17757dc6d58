"""Gradient norms of every weight for every example, by one backward pass that forms no weight gradient."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from curate.errors import ModelError
from curate.models.load import PROBE_LENGTH, PROBE_TOLERANCE
from curate.models.passes.device_batch import to_device, to_host
from curate.models.passes.head import HeadWants, head_stats
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from curate.models.load import LoadedModel

HEAD: Final = "lm_head.weight"
HEAD_BIAS: Final = "lm_head.bias"


@final
@dataclass(frozen=True, slots=True, eq=False)
class LayerStats:
    """Of the gradient of one example's mean loss, one entry per weight tensor, (weights,) each.

    Parameters
    ----------
    inner
        Inner product of the weight with its gradient.
    sq_norm
        Squared Frobenius norm of the gradient.
    """

    inner: Float[np.ndarray, " weights"]
    sq_norm: Float[np.ndarray, " weights"]


@final
@dataclass(slots=True, eq=False)
class _Call:
    """One use of a module in a forward pass: what went in, what came out, and its gradient."""

    module: nn.Module
    given: Tensor
    output: Tensor
    gradient: Tensor | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The weights of a loaded model, and the pass that measures their gradients.

    For a linear layer with inputs A and gradients B of its outputs, over all positions of an
    example, the gradient's squared norm is <A A^T, B B^T>, or that of B^T A where this is cheaper,
    and its inner product with the weight the sum of B times the outputs. Gains and biases are
    formed; embeddings are summed over equal ids. The head is that of `head_stats`. A matrix that
    is shared by head and embedding counts as two.

    Parameters
    ----------
    names
        Of the weights, those of the head first.
    sq_norms
        Squared Frobenius norm of each, (weights,).
    """

    model: "LoadedModel"
    names: tuple[str, ...]
    sq_norms: Float[np.ndarray, " weights"]
    places: dict[int, dict[str, int]] = field(repr=False)  # module -> parameter -> place in names

    @classmethod
    def of(cls, model: "LoadedModel") -> "Layers":
        """List the weights of a model and check the pass on a short probe against autograd.

        Raises `ModelError` for a model with weights this pass cannot read, such as experts.
        """
        names = [HEAD] + ([HEAD_BIAS] if model.head.bias is not None else [])
        weights: list[Tensor] = [
            parameter for parameter in (model.head.weight, model.head.bias) if parameter is not None
        ]
        places: dict[int, dict[str, int]] = {}
        for path, module in model.backbone.named_modules():
            for name, weight in module.named_parameters(recurse=False):
                _check_kind(model, module, f"{path}.{name}", weight)
                places.setdefault(id(module), {})[name] = len(names)
                names.append(f"{path}.{name}")
                weights.append(weight)
        sq_norms = np.array([float(weight.double().square().sum()) for weight in weights])
        made = cls(model, tuple(names), sq_norms, places)
        _probe(made)
        return made

    def run(
        self, rows: Sequence[Rendered], keeps: Sequence[Bool[np.ndarray, " T"]]
    ) -> list[LayerStats]:
        """Measure some examples in one padded batch.

        Parameters
        ----------
        rows
            As rendered.
        keeps
            Which scored positions of each count, at least one, (T,) each.
        """
        with torch.inference_mode(False), torch.enable_grad(), _recording(self, len(rows)) as calls:
            hidden = self.model.hidden(to_device(padded_ids(rows), self.model.device))
            results, gradient = self._head(rows, keeps, hidden.detach())
            hidden.backward(gradient)  # type: ignore[no-untyped-call]
        by_module: dict[int, list[_Call]] = {}
        for call in calls:
            by_module.setdefault(id(call.module), []).append(call)
        for uses in by_module.values():
            self._measure(uses, results)
        return [LayerStats(inner, sq_norm) for inner, sq_norm in to_host(results)]

    def _head(
        self, rows: Sequence[Rendered], keeps: Sequence[Bool[np.ndarray, " T"]], hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return results, (rows, 2, weights), with the head's filled in, and the gradient of the hidden states."""
        results = hidden.new_zeros((len(rows), 2, len(self.names)), dtype=torch.float64)
        gradient = torch.zeros_like(hidden)
        wants = HeadWants(entropy=True, grams=frozenset({True}))
        head = self.model.head
        kept = [
            part[keep].astype(np.int64)
            for row, keep in zip(rows, keeps, strict=True)
            for part in (row.positions, row.targets)
        ]
        there = torch.split(
            to_device(np.concatenate(kept), self.model.device), [len(part) for part in kept]
        )
        for number, (positions, targets) in enumerate(zip(there[::2], there[1::2], strict=True)):
            states, t = hidden[number, positions], len(positions)
            end = torch.zeros(t, dtype=torch.bool, device=hidden.device)
            (stats,) = head_stats(head, states, targets, [end], wants)
            assert stats.inner is not None
            results[number, 0, 0] = stats.inner.mean()
            results[number, 1, 0] = stats.sq_norm[True] / t**2
            bias = torch.zeros(len(head.weight), dtype=torch.float64, device=hidden.device)
            for start in range(0, t, head.chunk_rows):
                part = slice(start, start + head.chunk_rows)
                residual = _residual(head, states[part], targets[part]) / t
                gradient[number, positions[part]] = (residual.to(hidden.dtype)) @ head.weight
                bias += residual.sum(dim=0, dtype=torch.float64)
            if head.bias is not None:
                results[number, :, 1] = torch.stack([(bias * head.bias).sum(), bias.square().sum()])
        return results, gradient

    def _measure(self, uses: Sequence[_Call], results: Tensor) -> None:
        """Fill in the results of one module's weights, all its uses together."""
        module = uses[0].module
        for number in range(len(results)):
            for name, (inner, sq_norm) in _MEASURES[_kind(module)](module, uses, number).items():
                place = self.places[id(module)][name]
                results[number, :, place] = torch.stack([inner.double(), sq_norm])


# The pass ----------------------------------------------------------------------------------------


@contextmanager
def _recording(layers: Layers, n_rows: int) -> Iterator[list[_Call]]:
    """Record every use of a module that has weights, with the gradient of its output.

    What is the same for all rows, such as the embeddings of positions, is repeated for each.
    """
    calls: list[_Call] = []

    def note(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        if not output.requires_grad:  # an embedding: the graph begins here
            output = output.expand(n_rows, *output.shape[1:]).clone().requires_grad_(True)
        call = _Call(module, given[0].detach(), output.detach())

        def keep(gradient: Tensor) -> None:
            call.gradient = gradient

        output.register_hook(keep)  # type: ignore[no-untyped-call]
        calls.append(call)
        return output

    handles = [
        module.register_forward_hook(note)
        for module in layers.model.backbone.modules()
        if id(module) in layers.places
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _residual(head: Any, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient of each position's loss by its projection ``W h + b``, (rows, V)."""
    logits = head.finish(head.project(hidden))
    log_probs = torch.log_softmax(logits, dim=1)
    residual = log_probs.exp()
    at = targets[:, None]
    residual.scatter_(1, at, torch.expm1(log_probs.gather(1, at)))
    scaled: Tensor = residual * head.slope(logits)
    return scaled


def padded_ids(rows: Sequence[Rendered]) -> Int[np.ndarray, "rows width"]:
    """Return the token ids of rows as one matrix, 0 after the end of each."""
    ids = np.zeros((len(rows), max(len(row.ids) for row in rows)), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
    return ids


# What each kind of module contributes ------------------------------------------------------------

Measured = dict[str, tuple[Tensor, Tensor]]  # parameter -> inner product, squared norm, in float64


def _linear(module: nn.Module, uses: Sequence[_Call], number: int) -> Measured:
    weight = module.get_parameter("weight")
    given = torch.cat([_rows_of(call.given, number) for call in uses])
    output = torch.cat([_rows_of(call.output, number) for call in uses])
    gradient = torch.cat([_rows_of(_gradient(call), number) for call in uses])
    bias = getattr(module, "bias", None)
    if bias is not None:
        output = output - bias
    inner = (gradient * output).sum(dtype=torch.float64)
    t, (n_in, n_out) = len(given), (given.shape[1], gradient.shape[1])
    if t * (n_in + n_out) <= weight.numel():
        gram = (given @ given.T).double() * (gradient @ gradient.T).double()
        sq_norm = gram.sum()
    else:
        sq_norm = (gradient.T @ given).double().square().sum()
    measured = {"weight": (inner, sq_norm)}
    if bias is not None:
        measured["bias"] = _formed(bias, gradient.sum(dim=0, dtype=torch.float64))
    return measured


def _embedding(module: nn.Module, uses: Sequence[_Call], number: int) -> Measured:
    ids = torch.cat([call.given.expand(call.output.shape[:-1])[number].flatten() for call in uses])
    gradient = torch.cat([_rows_of(_gradient(call), number) for call in uses]).double()
    padding = getattr(module, "padding_idx", None)
    if padding is not None:  # torch never updates this row
        gradient.masked_fill_((ids == padding)[:, None], 0)
    output = torch.cat([_rows_of(call.output, number) for call in uses])
    inner = (gradient * output).sum()
    gradient *= _embed_scale(module)
    if output.is_cuda:  # by the first place of each id: how many are distinct would be waited for
        n, places = len(ids), (ids[:, None] == ids[None]).to(torch.uint8).argmax(dim=1)
    else:
        distinct, places = torch.unique(ids, return_inverse=True)
        n = len(distinct)
    sums = gradient.new_zeros(n, gradient.shape[1]).index_add_(0, places, gradient)
    return {"weight": (inner, sums.square().sum())}


def _embed_scale(module: nn.Module) -> float | Tensor:
    """Return the factor some architectures apply to embeddings, wherever they keep it."""
    scale: float | Tensor = getattr(module, "embed_scale", 1.0)
    return scale.double() if isinstance(scale, Tensor) else float(scale)


def _vectors(module: nn.Module, uses: Sequence[_Call], number: int) -> Measured:
    """Run a module of gains and biases again on one example, for their gradients."""
    weights = {
        name: weight.detach().clone().requires_grad_(True)
        for name, weight in module.named_parameters(recurse=False)
    }
    totals = {
        name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()
    }
    with torch.inference_mode(False), torch.enable_grad():
        for call in uses:
            here = slice(number, number + 1)
            output = torch.func.functional_call(module, weights, (call.given[here],))
            gradients = torch.autograd.grad(output, list(weights.values()), _gradient(call)[here])
            for name, gradient in zip(weights, gradients, strict=True):
                totals[name] += gradient.double()
    return {name: _formed(weights[name].detach(), total) for name, total in totals.items()}


def _formed(weight: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return (weight.double() * gradient).sum(), gradient.square().sum()


_MEASURES: Final[dict[str, Callable[[nn.Module, Sequence[_Call], int], Measured]]] = {
    "linear": _linear, "embedding": _embedding, "vectors": _vectors,
}  # fmt: skip


def _gradient(call: _Call) -> Tensor:
    return torch.zeros_like(call.output) if call.gradient is None else call.gradient


def _rows_of(values: Tensor, number: int) -> Tensor:
    """Return one example's vectors, (positions, dim)."""
    return values[number].reshape(-1, values.shape[-1])


# What can be read --------------------------------------------------------------------------------


def _kind(module: nn.Module) -> str:
    from transformers.pytorch_utils import Conv1D

    if type(module) in (nn.Linear, Conv1D):
        return "linear"
    return "embedding" if isinstance(module, nn.Embedding) else "vectors"


def _check_kind(model: "LoadedModel", module: nn.Module, path: str, weight: Tensor) -> None:
    if _kind(module) == "vectors" and weight.dim() > 1:
        raise _unreadable(model, f"{path} of a {type(module).__name__}")


def _unreadable(model: "LoadedModel", what: str) -> ModelError:
    return ModelError(
        f"model {model.resolved.name!r}: the gradient of {what} is computed in a way this version "
        "does not know; use donod, which reads the LM head alone: --set donod.layers=head"
    )


def _probe(layers: Layers) -> None:
    """Compare two short made-up rows with the gradients autograd forms; refuse any difference."""
    model = layers.model
    n_ids = layers.model.resolved.vocab_size or len(model.head.weight)
    rows = []
    for number in (1, 2):
        ids = (np.arange(PROBE_LENGTH - number) * 37 * number % n_ids).astype(np.int32)
        positions = np.arange(len(ids) - 1)
        rows.append(Rendered(ids, positions, ids[1:], np.zeros(len(positions), bool), False, 0))
    keeps = [np.ones(len(row.targets), dtype=bool) for row in rows]
    try:
        measured = layers.run(rows, keeps)
    except (RuntimeError, IndexError, TypeError, AttributeError) as error:
        raise _unreadable(model, f"a layer ({error})") from error
    for row, stats in zip(rows, measured, strict=True):
        wanted = _by_autograd(layers, row)
        apart = np.abs(stats.sq_norm[-len(wanted) :] - wanted)
        tolerance = PROBE_TOLERANCE[model.dtype] * wanted.max(initial=0.0)
        if (apart > tolerance).any():
            raise _unreadable(
                model, layers.names[len(layers.names) - len(wanted) + int(apart.argmax())]
            )


def _by_autograd(layers: Layers, row: Rendered) -> Float[np.ndarray, " weights"]:
    """Return the squared norm of the gradient of every weight of the backbone for one row."""
    model = layers.model
    weights = [
        weight
        for module in model.backbone.modules()
        for weight in module._parameters.values()
        if weight is not None
    ]
    with torch.inference_mode(False), torch.enable_grad():
        for weight in weights:
            weight.requires_grad_(True)
        try:
            hidden = model.hidden(to_device(padded_ids([row]), model.device))
            _, gradient = layers._head([row], [np.ones(len(row.targets), bool)], hidden.detach())
            gradients = torch.autograd.grad(hidden, weights, gradient, allow_unused=True)
        finally:
            for weight in weights:
                weight.requires_grad_(False)
    return np.array(
        [0.0 if grad is None else float(grad.double().square().sum()) for grad in gradients]
    )
