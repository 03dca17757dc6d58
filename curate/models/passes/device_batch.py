"""A batch on its way through a device: one copy there, one copy back, and no wait in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from curate.contracts import Stat
from curate.models.passes import head_kernel
from curate.models.passes.head import Head, HeadWants, head_stats
from curate.models.passes.head_gram import gram_norms
from curate.models.passes.packing import Boundaries, Keys, packed_hidden
from curate.models.passes.prefixes import PrefixTree
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from curate.models.load import LoadedModel

POOL_ELEMENTS: Final = 67_108_864  # hidden values turned into float64 at once: 512 MiB
KERNEL_CHUNK_ELEMENTS: Final = 268_435_456  # projections held at once: 512 MiB of bfloat16


@final
@dataclass(frozen=True, slots=True, eq=False)
class HostBatch:
    """What a batch needs on the device, as one array, with the place of each part in it.

    Parts: ``ids``; ``tokens``, the places of the rows' own tokens in ``ids``; ``positions`` of the
    tokens in their rows; ``starts`` of the rows among the tokens and the end of the last; ``scored``,
    which tokens predict a scored one; ``targets``; ``ends``, whether a target ends a turn; ``owners``,
    the example each target is of. Rows that begin alike lie in ``ids`` as a `PrefixTree`, whose
    ``places``, ``runs``, ``keys`` and ``key_starts`` are parts too.

    ``lengths`` are of the rows, of which an example may have several; ``counts`` are the scored tokens
    of each example, and ``last`` is its last row. ``runs`` are the tokens of each run of the tree, and
    those it attends to.
    """

    values: Int[np.ndarray, " n"]
    places: dict[str, slice]
    lengths: tuple[int, ...]
    counts: tuple[int, ...]
    last: tuple[int, ...]
    width: int  # of the padded rows, 0 for rows end to end
    runs: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @classmethod
    def of(cls, rows: Sequence[Rendered], *, packed: bool, shared: bool = False) -> "HostBatch":
        """Lay out some rendered rows: end to end, with what they begin with once, or padded on the right."""
        lengths = np.array([b - a for row in rows for a, b in row.edges], dtype=np.int64)
        of_example = np.cumsum([0, *(len(row.ids) for row in rows[:-1])])
        last = np.cumsum([len(row.starts) for row in rows]) - 1
        counts = np.array([len(row.targets) for row in rows], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        numbers = np.arange(starts[-1])
        ids = np.concatenate([row.ids for row in rows]).astype(np.int64)
        tokens = numbers
        width = 0 if packed else int(lengths.max())
        if not packed:
            tokens = numbers + np.repeat(np.arange(len(lengths)) * width - starts[:-1], lengths)
            padded = np.zeros(len(lengths) * width, dtype=np.int64)
            padded[tokens] = ids
            ids = padded
        tree = PrefixTree.of(rows) if shared else None
        parts = {
            "ids": ids if tree is None else tree.ids,
            "tokens": tokens if tree is None else tree.tokens,
            "positions": numbers - np.repeat(starts[:-1], lengths),
            "starts": starts,
            "lengths": lengths,
            "counts": counts,
            "owners": np.repeat(np.arange(len(rows)), counts),
            "scored": np.concatenate([row.positions for row in rows])
            + np.repeat(of_example, counts),
            "targets": np.concatenate([row.targets for row in rows]),
            "ends": np.concatenate([row.is_end for row in rows]),
        }
        if tree is not None:
            parts |= {"places": tree.positions, "runs": tree.starts}
            parts |= {"keys": tree.keys, "key_starts": tree.key_starts}
        places, reached = {}, 0
        for name, part in parts.items():
            places[name] = slice(reached, reached + len(part))
            reached += len(part)
        values = np.concatenate([part.astype(np.int64) for part in parts.values()])
        return cls(
            values,
            places,
            tuple(lengths.tolist()),
            tuple(counts.tolist()),
            tuple(last.tolist()),
            width,
            None if tree is None else (_steps(tree.starts), _steps(tree.key_starts)),
        )

    def to(self, device: str) -> dict[str, Tensor]:
        """Copy everything in one piece; on a GPU from page-locked memory, without waiting."""
        return self.parts(to_device(self.values, device))

    def parts(self, values: Tensor) -> dict[str, Tensor]:
        """Return the parts of the array on a device."""
        return {name: values[place] for name, place in self.places.items()}


def to_device(values: "np.ndarray[Any, Any]", device: str) -> Tensor:
    """Copy an array to a device; to a GPU from page-locked memory, without waiting."""
    tensor = torch.from_numpy(values)
    return (
        tensor.pin_memory().to(device, non_blocking=True) if device.startswith("cuda") else tensor
    )


def sent(values: Tensor) -> "Callable[[], np.ndarray[Any, Any]]":
    """Start one copy of a tensor to the host, and return what waits for it."""
    if not values.is_cuda:
        return values.numpy
    copied = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copied.copy_(values, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(values.device))

    def arrived() -> "np.ndarray[Any, Any]":
        event.synchronize()
        return np.asarray(copied.numpy())

    return arrived


def to_host(values: Tensor) -> "np.ndarray[Any, Any]":
    """Copy a tensor to the host in one piece, and wait for it."""
    return sent(values)()


def _steps(starts: Int[np.ndarray, " n"]) -> tuple[int, ...]:
    return tuple(np.diff(starts).tolist())


@final
@dataclass(frozen=True, slots=True)
class BatchWants:
    """What to measure; see `PassRequest`. ``fused`` reads each logit once, where there is a kernel."""

    head: HeadWants
    pooled: tuple[Stat, ...]
    nll: bool = True
    fused: bool = True
    chunk_elements: int = KERNEL_CHUNK_ELEMENTS


@final
@dataclass(slots=True, eq=False)
class DeviceResults:
    """Results on their way back: flat columns of one array that is complete once `wait` returns."""

    batch: HostBatch
    names: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    _arrived: "Callable[[], np.ndarray[Any, Any]] | None" = None

    def add(self, name: str, value: Tensor) -> None:
        """Add a column; it travels in float64."""
        self.names.append((name, tuple(value.shape)))
        self.values.append(value.double().reshape(-1))

    def send(self) -> None:
        """Start the one copy to the host."""
        flat = torch.cat(self.values) if self.values else torch.zeros(0, dtype=torch.float64)
        self.values.clear()
        self._arrived = sent(flat)

    def wait(self) -> dict[str, Float[np.ndarray, "..."]]:
        """Return the columns, by name, once they are here."""
        assert self._arrived is not None
        flat, columns, reached = self._arrived(), {}, 0
        for name, shape in self.names:
            size = int(np.prod(shape))
            columns[name] = flat[reached : reached + size].reshape(shape)
            reached += size
        return columns


def launch(
    model: "LoadedModel",
    rows: Sequence[Rendered],
    wants: BatchWants,
    *,
    packed: bool,
    shared: bool = False,
) -> DeviceResults:
    """Queue everything a batch takes on the device and return at once.

    Columns of the results: ``nll``, ``entropy`` and ``inner`` over the scored tokens of all rows,
    ``norm True`` and ``norm False`` per example, and the value of each pooled `Stat`, (rows, dim). They
    come from the head's card: of a model on several, what it needs there goes over from the first.
    """
    batch = HostBatch.of(rows, packed=packed, shared=shared)
    values = to_device(batch.values, model.device)
    at = batch.parts(values)
    hidden = _hidden(model, batch, at, packed=packed)
    if model.cards:
        card = model.head.weight.device
        hidden, at = hidden.to(card), batch.parts(values.to(card))
    results = DeviceResults(batch)
    if wants.nll:
        scored = at["tokens"].index_select(0, at["scored"]) if shared else at["scored"]
        _add_head(results, model.head, hidden.index_select(0, scored), at, wants)
    if wants.pooled and shared:
        hidden = hidden.index_select(0, at["tokens"])
    for stat in wants.pooled:
        results.add(str(stat), pool_rows(hidden, at, batch.lengths, stat))
    results.send()
    return results


def _hidden(
    model: "LoadedModel", batch: HostBatch, at: dict[str, Tensor], *, packed: bool
) -> Tensor:
    """Return the final hidden states of the rows' own tokens, or of their tree's, (tokens, dim)."""
    if batch.runs is not None:
        return tree_hidden(model, batch, at)
    if packed:
        starts = Boundaries(at["starts"].to(torch.int32), batch.lengths)
        return packed_hidden(model.backbone, at["ids"], at["positions"], starts)
    wide = model.hidden(at["ids"].view(len(batch.lengths), batch.width))
    hidden = wide.reshape(-1, wide.shape[2])
    if len(at["tokens"]) == len(hidden):
        return hidden
    return hidden.index_select(0, at["tokens"].to(hidden.device))


def tree_hidden(model: "LoadedModel", batch: HostBatch, at: dict[str, Tensor]) -> Tensor:
    """Return the final hidden states of a batch's `PrefixTree`, (tokens, dim)."""
    assert batch.runs is not None
    lengths, n_keys = batch.runs
    keys = Keys(at["keys"], at["key_starts"].to(torch.int32), n_keys)
    runs = Boundaries(at["runs"].to(torch.int32), lengths, keys)
    return packed_hidden(model.backbone, at["ids"], at["places"], runs)


def _add_head(
    results: DeviceResults, head: Head, scored: Tensor, at: dict[str, Tensor], wants: BatchWants
) -> None:
    targets = at["targets"]
    if not wants.head.grams and scored.is_cuda:
        nll, entropy = _likelihood(head, scored, targets, wants)
        results.add("nll", nll)
        if entropy is not None:
            results.add("entropy", entropy)
        return
    if _fits_kernel(scored, wants) and head.is_linear:
        nll, entropy, norms = gram_norms(
            head, scored, targets, at["ends"].bool(), at["owners"], at["counts"],
            results.batch.counts, wants.head.grams,
        )  # fmt: skip
        results.add("nll", nll)
        results.add("entropy", entropy)
        results.add("inner", nll.double() - entropy.double())
        for with_end, norm in norms.items():
            results.add(f"norm {with_end}", norm)
        return
    ends = torch.split(at["ends"].bool(), list(results.batch.counts))
    per_example = head_stats(head, scored, targets, ends, wants.head)
    columns = {
        "nll": [stats.nll for stats in per_example],
        "entropy": [stats.entropy for stats in per_example if stats.entropy is not None],
        "inner": [stats.inner for stats in per_example if stats.inner is not None],
    }
    for name, values in columns.items():
        if values:
            results.add(name, torch.cat(values))
    for with_end in sorted(wants.head.grams):
        results.add(
            f"norm {with_end}", torch.stack([stats.sq_norm[with_end] for stats in per_example])
        )


def _fits_kernel(scored: Tensor, wants: BatchWants) -> bool:
    """Whether a kernel reads the logits: it sums in float32, too coarse for a model in float64."""
    there = wants.fused and scored.is_cuda and head_kernel.available()
    return there and scored.dtype != torch.float64


def _likelihood(
    head: Head, scored: Tensor, targets: Tensor, wants: BatchWants
) -> tuple[Tensor, Tensor | None]:
    """Return negative log-probabilities and entropies of all scored tokens, (rows,) each."""
    if _fits_kernel(scored, wants):
        chunk = max(1, wants.chunk_elements // len(head.weight))
        parts = [
            head_kernel.row_statistics(
                torch.nn.functional.linear(h, head.weight), y,
                bias=head.bias, scale=head.scale, softcap=head.softcap,
            )
            for h, y in zip(torch.split(scored, chunk), torch.split(targets, chunk), strict=True)
        ]  # fmt: skip
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    whole = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)
    (stats,) = head_stats(head, scored, targets, [whole], HeadWants(wants.head.entropy))
    return stats.nll, stats.entropy


def pool_rows(hidden: Tensor, at: dict[str, Tensor], lengths: Sequence[int], stat: Stat) -> Tensor:
    """Pool the hidden states of rows that lie end to end, in float64, (rows, dim).

    Parameters
    ----------
    hidden
        (tokens, dim).
    at
        Their ``starts``, ``lengths`` and ``positions``, on the device.
    lengths
        Tokens of each row, on the host.
    stat
        ``MEAN_HIDDEN``, ``WEIGHTED_HIDDEN`` or ``LAST_HIDDEN``; see `pool`.
    """
    if stat is Stat.LAST_HIDDEN:
        return hidden.index_select(0, at["starts"][1:] - 1).double()
    rising = stat is Stat.WEIGHTED_HIDDEN
    sums = []
    for first, last, start, stop in _row_blocks(lengths, max(1, POOL_ELEMENTS // hidden.shape[1])):
        part = hidden[start:stop]
        if rising:  # double by its second factor, and not in place: `hidden` may be double itself
            part = part * (at["positions"][start:stop, None] + 1).double()
        sums.append(
            torch.segment_reduce(
                part.double(), "sum", lengths=at["lengths"][first:last], unsafe=True
            )
        )
    n = at["lengths"].double()[:, None]
    return torch.cat(sums) / (n * (n + 1) / 2 if rising else n)


def _row_blocks(lengths: Sequence[int], limit: int) -> list[tuple[int, int, int, int]]:
    """Return (first row, last + 1, first token, last + 1) of blocks of about ``limit`` tokens."""
    blocks, first, start, stop = [], 0, 0, 0
    for number, length in enumerate(lengths):
        if number > first and stop + length - start > limit:
            blocks.append((first, number, start, stop))
            first, start = number, stop
        stop += length
    blocks.append((first, len(lengths), start, stop))
    return blocks
