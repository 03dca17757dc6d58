"""One optimiser step's gradient: forward passes over a batch, the head in chunks, backward, sum."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from curate.contracts import Labels, Objective
from curate.models.batch import cut_evenly, padded_tokens
from curate.models.fitting import leaves_room
from curate.models.passes.device_batch import HostBatch, to_device, to_host
from curate.models.passes.layout import Layout
from curate.models.passes.packing import Boundaries, packed_hidden
from curate.models.text.render import Rendered
from curate.train.processes import Processes, seeded
from curate.train.steps.batches import CUDA_PASS_TOKENS, Rows, cut_micro, deal
from curate.train.steps.fused_head import FusedHead, flaw_of
from curate.train.steps.token_nll import token_nll

if TYPE_CHECKING:
    from curate.models.passes.head import Head
    from curate.train.data import Prepared
    from curate.train.model import TrainedModel

DROPOUT: Final = 3  # first word of the seeds, besides those of `curate.train.steps.stream`


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """What computing a gradient measured.

    Parameters
    ----------
    loss
        Objective of the whole batch: weighted sum over response tokens / weighted count of them.
    nll
        Summed NLL in nats of each row, under the weights before the step, (n,).
    padded_tokens
        Tokens run through the model by all processes, padding included.
    """

    loss: float
    nll: Float[np.ndarray, " n"]
    padded_tokens: int


@final
@dataclass(frozen=True, slots=True, eq=False)
class HeadPass:
    """The objective, the NLL of each position, and the gradient of the hidden states, (T, dim)."""

    total: Tensor
    nll: Tensor
    gradient: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """What one forward pass measured, still on the device: its objective, and the NLL of each position."""

    total: Tensor
    nll: Tensor
    sizes: Sequence[int]


@final
class GradientMaker:
    """Computes gradients of global batches; holds the model and the rows.

    Parameters
    ----------
    fused
        Head with a kernel for the loss, used if it gives the loss and the gradients of the first forward
        pass; None for logits in chunks.
    say
        Takes the sentence that says whether it does, which `fused_loss` keeps.
    """

    def __init__(
        self,
        model: "TrainedModel",
        prepared: "Prepared",
        objective: Objective,
        processes: Processes,
        micro_tokens: int,
        seed: int,
        fused: FusedHead | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.fused_loss = ""
        self._head: Head | FusedHead = model.head
        self._fused = fused
        self._say = say
        self._model = model
        self._prepared = prepared
        self._objective = objective
        self._processes = processes
        self._device = str(processes.device)
        self.micro_tokens = micro_tokens
        self._seed = seed
        self._lengths = prepared.lengths
        self._n_targets = prepared.n_targets
        self._weights = prepared.weights
        self._parameters = [parameter for _, parameter in model.named_parameters()]

    def gradient(self, rows: Rows, step: int) -> Gradient:
        """Put the gradient of a batch into the parameters, the same in every process."""
        normaliser = float(self._weights[rows] @ self._n_targets[rows])
        measured = np.zeros(len(rows) + 1)
        passes = self._passes(rows)
        mine = self._mine(passes, rows)
        if self._fused is not None:
            self._settle(self._fused, rows[passes[mine[0]]] if mine else None)
            self._fused = None
        for parameter in self._parameters:
            parameter.grad = None
        pieces = []
        for number in mine:
            with seeded(self._processes.device, self._seed, DROPOUT, step, number):
                pieces.append(self._backward(rows[passes[number]], normaliser))
        for number, (total, nll) in zip(mine, self._fetched(pieces), strict=True):
            measured[-1] += total
            measured[passes[number]] = nll
        self._processes.add_gradients(self._parameters)
        measured = self._processes.add(measured)
        lengths = self._lengths[rows]
        padded = int(lengths.sum()) if self._model.packed else padded_tokens(lengths, passes)
        return Gradient(float(measured[-1]), measured[:-1], padded)

    def fits(self, tokens: int, more: int) -> bool:
        """Return whether a pass of the longest rows fits on the GPU of every process.

        Parameters
        ----------
        tokens
            Of the pass, padding included.
        more
            Bytes a step needs beside weights, gradients and activations.
        """
        order = np.argsort(-self._lengths, kind="stable")
        reached = np.cumsum(self._lengths[order])
        if not self._model.packed:
            reached = self._lengths[order[0]] * np.arange(1, len(order) + 1)
        rows = order[: max(1, int(np.searchsorted(reached, tokens, side="right")))]

        def run() -> None:
            with seeded(self._processes.device, self._seed, DROPOUT):
                self._backward(rows, 1.0)

        fits = leaves_room(run, self._device, more)
        for parameter in self._parameters:
            parameter.grad = None
        return not self._processes.any(not fits)

    def losses(self, rows: Rows) -> Float[np.ndarray, " n"]:
        """Return the summed NLL in nats of each row under the present weights, without a gradient."""
        nll = np.zeros(len(rows))
        passes = self._passes(rows)
        self._model.whole.eval()
        mine, pieces = self._mine(passes, rows), []
        with torch.no_grad():
            for number in mine:
                hidden, labels, sizes = self._forward(rows[passes[number]])
                parts = []
                for start, stop in self._chunks(sizes, self._model.head.chunk_rows):
                    part = Labels(labels.targets[start:stop], labels.owner[start:stop], labels.ids)
                    with self._model.autocast():
                        parts.append(token_nll(hidden[start:stop], self._model.head, part))
                pieces.append(
                    _Piece(torch.zeros((), device=hidden.device), torch.cat(parts), sizes)
                )
        for number, (_, summed) in zip(mine, self._fetched(pieces), strict=True):
            nll[passes[number]] = summed
        self._model.whole.train()
        return self._processes.add(nll)

    def _passes(self, rows: Rows) -> list[Rows]:
        """Cut a batch into forward passes; each holds places in the batch."""
        lengths = self._lengths[rows]
        places = np.arange(len(rows))
        if self._model.packed:
            longest_first = np.argsort(-lengths, kind="stable")
            return cut_evenly(longest_first, lengths, self.micro_tokens, self._processes.count)
        more = CUDA_PASS_TOKENS if self._model.device.type == "cuda" else 0
        return cut_micro(
            lengths, places, self.micro_tokens, self._processes.count, pass_tokens=more
        )

    def _mine(self, passes: Sequence[Rows], rows: Rows) -> list[int]:
        return deal(self._lengths[rows], passes, self._processes.count)[self._processes.index]

    def _backward(self, rows: Rows, normaliser: float) -> "_Piece":
        """Add one forward pass's share to the gradient; the logits of one chunk exist at a time."""
        hidden, labels, sizes = self._forward(rows)
        weights = to_device(np.repeat(self._weights[rows], sizes), self._device)
        weights = weights.to(torch.float64 if hidden.dtype == torch.float64 else torch.float32)
        found = self._through_head(self._head, hidden, labels, sizes, weights, normaliser)
        hidden.backward(found.gradient)  # type: ignore[no-untyped-call]
        return _Piece(found.total, found.nll, sizes)

    def _through_head(
        self,
        head: "Head | FusedHead",
        hidden: Tensor,
        labels: Labels,
        sizes: Sequence[int],
        weights: Tensor,
        normaliser: float,
    ) -> HeadPass:
        """Add the head's share to the gradient of its weight; return what reaches the hidden states."""
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        nlls, gradients = [], []
        for start, stop in self._chunks(sizes, head.chunk_rows):
            chunk = hidden[start:stop].detach().requires_grad_()
            part = Labels(labels.targets[start:stop], labels.owner[start:stop], labels.ids)
            with self._model.autocast():
                made = self._objective.loss(chunk, head, part, weights[start:stop])
            loss = made.total / normaliser
            loss.backward()  # type: ignore[no-untyped-call]
            assert chunk.grad is not None
            gradients.append(chunk.grad)
            total = total + loss.detach().double()
            nlls.append(made.nll)
        return HeadPass(total, torch.cat(nlls), torch.cat(gradients))

    def _settle(self, fused: FusedHead, rows: Rows | None) -> None:
        """Use a kernel for the loss from now on if it gives this forward pass's loss and gradients."""
        flaw = None if rows is None else self._flaw(fused, rows)
        refused = self._processes.any(flaw is not None)
        if not refused:
            self._head = fused
            self.fused_loss = f"{fused.described}: the first batch is that of logits, to rounding"
        else:
            why = flaw or "it does not give the same in another process"
            self.fused_loss = f"off: {fused.described} is not used, because {why}"
        self._say(f"loss: {self.fused_loss}")

    def _flaw(self, fused: FusedHead, rows: Rows) -> str | None:
        """Return why a kernel cannot stand in for logits, or None if it can.

        Tokens count differently here, whatever they do in the run: some kernels form gradients before they
        know it.
        """
        with torch.no_grad(), seeded(self._processes.device, self._seed, DROPOUT):
            hidden, labels, sizes = self._forward(rows)
        weight = self._model.head.weight
        uneven = 1 + torch.arange(len(hidden), device=hidden.device).remainder(3).float()

        def run(head: "Head | FusedHead") -> list[Tensor]:
            weight.grad = None
            found = self._through_head(head, hidden, labels, sizes, uneven, 1.0)
            own: list[Tensor] = [] if weight.grad is None else [weight.grad]
            return [found.nll, found.gradient, *own]

        return flaw_of(fused, run)

    @staticmethod
    def _fetched(pieces: Sequence["_Piece"]) -> list[tuple[float, Float[np.ndarray, " n"]]]:
        """Return the objective and the summed NLL of each row of some passes, in one copy."""
        if not pieces:
            return []
        flat = [part for one in pieces for part in (one.total.double()[None], one.nll.double())]
        host = to_host(torch.cat(flat))
        cuts = np.cumsum([len(part) for part in flat])[:-1]
        found = np.split(host, cuts)
        return [
            (float(total[0]), np.add.reduceat(nll, np.cumsum([0, *one.sizes[:-1]])))
            for total, nll, one in zip(found[::2], found[1::2], pieces, strict=True)
        ]

    def _forward(self, rows: Rows) -> tuple[Tensor, Labels, list[int]]:
        """Return the hidden states at the response positions of some rows, and their labels."""
        rendered = [self._prepared.rendered[row] for row in rows]
        if self._model.packed:
            hidden = self._packed(rendered)
        else:
            with self._model.autocast():
                hidden, _ = Layout.of(rendered).scored(
                    lambda ids: self._model.hidden(to_device(ids, self._device))
                )
        sizes = [len(example.targets) for example in rendered]
        targets = np.concatenate([example.targets for example in rendered]).astype(np.int64)
        labels = Labels(
            to_device(targets, self._device),
            to_device(np.repeat(np.arange(len(rows)), sizes), self._device),
            tuple(self._prepared.rows[row].id for row in rows),
        )
        return hidden, labels, sizes

    def _packed(self, rendered: Sequence[Rendered]) -> Tensor:
        """Return the hidden states at the response positions of rows that run end to end."""
        batch = HostBatch.of(rendered, packed=True)
        at = batch.to(self._device)
        rows = Boundaries(at["starts"].to(torch.int32), batch.lengths)
        with self._model.autocast():
            states = packed_hidden(self._model.backbone, at["ids"], at["positions"], rows)
        return states.index_select(0, at["scored"])

    def _chunks(self, sizes: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
        if not self._objective.whole_examples:
            total = sum(sizes)
            yield from ((start, min(start + limit, total)) for start in range(0, total, limit))
            return
        start = stop = 0
        for size in sizes:
            if stop > start and stop + size - start > limit:
                yield start, stop
                start = stop
            stop += size
        yield start, stop
