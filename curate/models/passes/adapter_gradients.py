"""The gradient of every example by the weights of an adapter, from one backward pass over a batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from curate.models.passes.device_batch import to_device
from curate.models.passes.layers import padded_ids
from curate.models.passes.projection import project
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from curate.models.passes.head import Head

WEIGHT: Final = ".weight"
HELD_BYTES: Final = 256 * 1024**2  # gradients that wait to be projected together

# Rows, and which scored positions of each count, at least one, (T,)
Batch = tuple[Sequence[Rendered], Sequence[Bool[np.ndarray, " T"]]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Adam's running means of a weight's gradient and of its square, of the weight's shape; its settings."""

    first: Tensor
    second: Tensor
    betas: tuple[float, float]
    eps: float

    def shaped(self, gradients: Tensor) -> Tensor:
        """Return the direction of Adam's step for each gradient: eps in the root, no bias correction."""
        decay, decay_of_square = self.betas
        first = decay * self.first + (1 - decay) * gradients
        second = decay_of_square * self.second + (1 - decay_of_square) * gradients.square()
        return first / torch.sqrt(second + self.eps)


@final
@dataclass(frozen=True, slots=True, eq=False)
class AdapterGradients:
    """What gradients are taken of: a model with an adapter in place, and how they are projected.

    Parameters
    ----------
    hidden
        Final hidden states of padded ids, (rows, width, dim).
    head
        From hidden states to logits.
    modules
        The linear layers of the adapter by the name of their weight, which alone is trained.
    dim, seed
        Numbers an example's gradient is projected to, and what draws the signs.
    """

    hidden: Callable[[Tensor], Tensor]
    head: "Head"
    modules: Mapping[str, nn.Linear]
    dim: int
    seed: int

    def run(
        self, batches: Sequence[Batch], moments: Mapping[str, Moments]
    ) -> tuple[Tensor, Tensor]:
        """Return the projected gradient of each row's mean loss, Adam-shaped and as it is, (rows, dim) each.

        Rows come one batch after the other. Scaled to length 1, in double precision; zeros for a gradient of
        0. One forward and one backward pass a batch. The gradients of as many batches as fit 256 MiB
        are projected together, a matrix of the model at a time, because drawing the signs takes as long
        as projecting about twenty rows; where one batch alone is larger, a matrix's gradients are
        formed, projected and dropped.

        Parameters
        ----------
        moments
            By name, as ``modules``.
        """
        results = [self._of_group(group, moments) for group in self._groups(batches)]
        none = torch.zeros(0, self.dim, dtype=torch.float64)
        shaped = torch.cat([none, *(of_adam for of_adam, _ in results)])
        plain = torch.cat([none, *(as_is for _, as_is in results)])
        return _unit(shaped), _unit(plain)

    def _groups(self, batches: Sequence[Batch]) -> Iterator[list[Batch]]:
        """Yield batches that are projected together, in order."""
        sizes = [module.weight.numel() for module in self.modules.values()]
        most = HELD_BYTES // (sum(sizes) * _wide(self.head.weight).itemsize)
        group: list[Batch] = []
        n_rows = 0
        for batch in batches:
            if group and n_rows + len(batch[0]) > most:
                yield group
                group, n_rows = [], 0
            group.append(batch)
            n_rows += len(batch[0])
        if group:
            yield group

    def _of_group(
        self, batches: Sequence[Batch], moments: Mapping[str, Moments]
    ) -> tuple[Tensor, Tensor]:
        n_rows = sum(len(rows) for rows, _ in batches)
        shaped, plain = (torch.zeros(n_rows, self.dim, dtype=torch.float64) for _ in range(2))
        names = list(self.modules)
        with torch.no_grad():
            for name, gradients in self._matrices(batches):
                directions = moments[name].shaped(gradients).flatten(1)
                both = torch.cat([directions, gradients.flatten(1)])
                projected = project(both, self.dim, seed=self.seed, number=names.index(name))
                shaped += projected[:n_rows].double().cpu()
                plain += projected[n_rows:].double().cpu()
        return shaped, plain

    def _matrices(self, batches: Sequence[Batch]) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each matrix that was used, and its gradients by all rows, (rows, out, in)."""
        if len(batches) == 1:
            calls = self._backward(batches[0])
            yield from ((name, _by_row(calls.pop(name))) for name in list(calls))
            return
        formed = []
        for batch in batches:
            calls = self._backward(batch)
            formed.append({name: _by_row(calls.pop(name)) for name in list(calls)})
        for name in list(formed[0]):
            yield name, torch.cat([gradients.pop(name) for gradients in formed])

    def _backward(self, batch: Batch) -> "_Calls":
        """Return what went into each matrix that was used, and the gradients of what came out."""
        rows, keeps = batch
        device = self.head.weight.device
        with torch.enable_grad(), _recording(self.modules) as calls:
            states = self.hidden(to_device(padded_ids(rows), str(device)))
            leaf = states.detach().requires_grad_()
            for number, (row, keep) in enumerate(zip(rows, keeps, strict=True)):
                self._mean_loss(leaf[number], row, keep).backward()  # type: ignore[no-untyped-call]
            assert leaf.grad is not None
            states.backward(leaf.grad)  # type: ignore[no-untyped-call]
        return {name: made for name, made in calls.items() if made}

    def _mean_loss(self, states: Tensor, row: Rendered, keep: Bool[np.ndarray, " T"]) -> Tensor:
        wanted = np.stack([row.positions[keep], row.targets[keep]]).astype(np.int64)
        positions, targets = to_device(wanted, str(states.device))
        logits = self.head.finish(self.head.project(states[positions]))
        return cross_entropy(logits, targets)


def adapter_modules(model: Any) -> dict[str, nn.Linear]:
    """Return the linear layers whose weights are trained, by the name of the weight, in the model's order."""
    by_path = dict(model.named_modules())
    found: dict[str, nn.Linear] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            module = by_path[name.removesuffix(WEIGHT)]
            assert name.endswith(WEIGHT) and isinstance(module, nn.Linear), name
            found[name] = module
    return found


_Calls = dict[str, list[tuple[Tensor, Tensor]]]  # by name: inputs, and gradients of outputs


@contextmanager
def _recording(modules: Mapping[str, nn.Linear]) -> Iterator[_Calls]:
    """Keep what goes into each module, and the gradient of what comes out, while the body runs."""
    calls: _Calls = {name: [] for name in modules}

    def keeper(name: str) -> Callable[..., None]:
        def keep(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            held = given[0].detach()
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: calls[name].append((held, gradient.detach()))
            )

        return keep

    handles = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _by_row(calls: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the gradient of a linear layer's weight for each row, (rows, out, in), float32 or more."""
    parts = [
        torch.einsum("bto,bti->boi", gradient.to(_wide(gradient)), given.to(_wide(gradient)))
        for given, gradient in calls
    ]
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _unit(rows: Tensor) -> Tensor:
    lengths = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
