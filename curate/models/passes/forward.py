"""One forward pass over a planned batch: what the model measures on each of its rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from curate.contracts import ForwardScorer, SegmentStats, Stat
from curate.contracts.segments import POOLED
from curate.models.memory import Limit, pieces_that_fit, run_in_halves
from curate.models.passes.device_batch import BatchWants, DeviceResults, launch
from curate.models.passes.head import HeadStats, HeadWants, head_stats
from curate.models.passes.layout import Layout
from curate.models.text.render import Rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from curate.models.load import LoadedModel

POOL_ELEMENTS: Final = 4_194_304  # hidden values turned into float64 at once


@final
@dataclass(frozen=True, slots=True)
class PassRequest:
    """What the scorers in a pass request from it, combined."""

    head: HeadWants
    pooled: tuple[Stat, ...]
    nll: bool = True

    @classmethod
    def of(cls, scorers: Sequence[ForwardScorer]) -> "PassRequest":
        """Return the union of what several scorers request."""
        asked = frozenset().union(*(scorer.emits for scorer in scorers))
        grams = frozenset(s.score_end for s in scorers if Stat.HEAD_GRAM in s.emits)
        return cls(
            HeadWants(Stat.ENTROPY in asked, grams),
            tuple(stat for stat in POOLED if stat in asked),
            bool(asked & {Stat.NLL, Stat.ENTROPY, Stat.HEAD_GRAM}),
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Everything one pass measured on one row, before it is reduced to what each scorer requested."""

    rendered: Rendered
    nll: Float[np.ndarray, " T"]
    entropy: Float[np.ndarray, " T"] | None
    inner: Float[np.ndarray, " T"] | None
    sq_norm: "Mapping[bool, float]"
    pooled: "Mapping[Stat, Float[np.ndarray, ' dim']]"

    def stats(self, scorer: ForwardScorer, weight_sq_norm: float | None) -> SegmentStats:
        """Return only what one scorer requested."""
        asked = scorer.emits
        rendered = self.rendered
        inner = sq_norm = None
        if Stat.HEAD_GRAM in asked and self.inner is not None:
            keep = np.ones(len(self.nll), bool) if scorer.score_end else ~rendered.is_end
            count = int(keep.sum())
            inner = float(self.inner[keep].mean()) if count else None
            sq_norm = self.sq_norm[scorer.score_end] / count**2 if count else None
        return SegmentStats(
            nll=self.nll,
            is_end=rendered.is_end,
            truncated=rendered.truncated,
            n_tokens=len(rendered.ids),
            entropy=self.entropy if Stat.ENTROPY in asked else None,
            head_inner=inner,
            head_sq_norm=sq_norm,
            head_weight_sq_norm=weight_sq_norm if Stat.HEAD_GRAM in asked else None,
            mean_hidden=self.pooled.get(Stat.MEAN_HIDDEN) if Stat.MEAN_HIDDEN in asked else None,
            weighted_hidden=(
                self.pooled.get(Stat.WEIGHTED_HIDDEN) if Stat.WEIGHTED_HIDDEN in asked else None
            ),
            last_hidden=self.pooled.get(Stat.LAST_HIDDEN) if Stat.LAST_HIDDEN in asked else None,
        )


@final
@dataclass(slots=True, eq=False)
class Forward:
    """Runs batches of rendered rows through a model and its head.

    A batch that does not fit in memory is halved until it does, and later ones as large are halved
    without a try where there is a ``limit``; ``n_split`` counts the rows this
    happened to (their numbers may differ from an unsplit run in the last bits).

    Parameters
    ----------
    model
        As loaded.
    packed
        Run rows end to end, without padding; the model must have passed `packing_flaw`.
    shared
        Compute what rows begin with once; the model must have passed `sharing_flaw`. Such rows lie
        end to end.
    fused
        On a GPU, read each logit once in a kernel of our own where there is one.
    limit
        On a GPU, what is known not to fit in its memory; None to find out anew for each batch.
    """

    model: "LoadedModel"
    packed: bool = False
    fused: bool = True
    shared: bool = False
    limit: Limit | None = None
    n_split: int = field(default=0, init=False)

    @property
    def is_queued(self) -> bool:
        """Whether batches are queued on the device and fetched later."""
        return self.packed or self.shared or self.model.device.startswith("cuda")

    def run_all(
        self, batches: Iterable[Sequence[Rendered]], wants: PassRequest
    ) -> Iterator[tuple[int, int, Measured | None]]:
        """Yield (batch, row, what was measured) over many batches, in order.

        On a GPU the next batch is queued before the last one is fetched, so that the device never
        waits for Python.
        """
        waiting: tuple[int, list[_Piece]] | None = None
        for number, rows in enumerate(batches):
            if not self.is_queued:
                for place, measured in self.run(rows, wants):
                    yield number, place, measured
                continue
            queued = self._queue(rows, wants)
            if waiting is not None:
                yield from _fetch(*waiting)
            waiting = number, queued
        if waiting is not None:
            yield from _fetch(*waiting)

    def _queue(self, rows: Sequence[Rendered], wants: PassRequest) -> list["_Piece"]:
        """Queue a batch, in halves where it does not fit."""
        asked = BatchWants(wants.head, wants.pooled, wants.nll, self.fused)

        def queue(part: Sequence[Rendered]) -> DeviceResults:
            with torch.inference_mode():
                packed = self.packed or self.shared
                return launch(self.model, part, asked, packed=packed, shared=self.shared)

        count = partial(self._count, rows)
        pieces = pieces_that_fit(rows, queue, self.model.device, count, self.limit)
        return [_Piece(start, part, results) for start, part, results in pieces]

    def run(
        self, rows: Sequence[Rendered], wants: PassRequest
    ) -> Iterator[tuple[int, Measured | None]]:
        """Yield (row, what was measured) in order; None for a row that alone exceeds the memory."""
        if self.is_queued:
            yield from (
                (place, measured) for _, place, measured in _fetch(0, self._queue(rows, wants))
            )
            return

        def measure(part: Sequence[Rendered]) -> list[Measured]:
            with torch.inference_mode():
                return self._batch(part, wants)

        yield from run_in_halves(rows, measure, self.model.device, partial(self._count, rows))

    def _count(self, rows: Sequence[Rendered]) -> None:
        self.n_split += len(rows)

    def _batch(self, rows: Sequence[Rendered], wants: PassRequest) -> list[Measured]:
        layout = Layout.of(rows)
        scored, states = layout.scored(self._hidden)
        stats = self._head(rows, scored, wants) if wants.nll else None
        pooled = {stat: layout.pooled(states, partial(pool, stat=stat)) for stat in wants.pooled}
        return [
            _measured(
                row, stats[number] if stats else None, {s: p[number] for s, p in pooled.items()}
            )
            for number, row in enumerate(rows)
        ]

    def _hidden(self, ids: Int[np.ndarray, "rows width"]) -> Tensor:
        return self.model.hidden(torch.from_numpy(ids).to(self.model.device))

    def _head(
        self, rows: Sequence[Rendered], scored: Tensor, wants: PassRequest
    ) -> list[HeadStats]:
        device = self.model.device
        targets = np.concatenate([row.targets for row in rows]).astype(np.int64)
        ends = torch.from_numpy(np.concatenate([row.is_end for row in rows])).to(device)
        stats = head_stats(
            self.model.head,
            scored,
            torch.from_numpy(targets).to(device),
            torch.split(ends, [len(row.is_end) for row in rows]),
            wants.head,
        )
        return _to_cpu(stats)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Rows of a batch that were queued together; without results, a row that does not fit."""

    start: int
    rows: Sequence[Rendered]
    results: DeviceResults | None


def _fetch(number: int, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int, Measured | None]]:
    """Yield (batch, row, what was measured) of a queued batch, once it is done."""
    for piece in pieces:
        if piece.results is None:
            yield number, piece.start, None
            continue
        columns = piece.results.wait()
        norms = [with_end for with_end in (False, True) if f"norm {with_end}" in columns]
        cuts = np.cumsum(piece.results.batch.counts)
        for place, row in enumerate(piece.rows):
            mine = slice(cuts[place] - len(row.targets), cuts[place])
            last = piece.results.batch.last[place]
            yield (
                number,
                piece.start + place,
                Measured(
                    row,
                    columns["nll"][mine] if "nll" in columns else np.full(len(row.targets), np.nan),
                    columns["entropy"][mine] if "entropy" in columns else None,
                    columns["inner"][mine] if "inner" in columns else None,
                    {with_end: float(columns[f"norm {with_end}"][place]) for with_end in norms},
                    {stat: columns[str(stat)][last] for stat in POOLED if str(stat) in columns},
                ),
            )


def pool(hidden: Tensor, lengths: Sequence[int], stat: Stat) -> Tensor:
    """Pool final hidden states over the tokens of each row, in float64.

    Parameters
    ----------
    hidden
        (rows, width, dim), padded on the right.
    lengths
        Tokens of each row.
    stat
        ``MEAN_HIDDEN``, ``WEIGHTED_HIDDEN`` (weights 1, 2, ... rising along the text, normalised)
        or ``LAST_HIDDEN``.
    """
    if stat is Stat.LAST_HIDDEN:
        last = torch.tensor(lengths, device=hidden.device) - 1
        return hidden[torch.arange(len(lengths), device=hidden.device), last].double()
    weights = torch.zeros(hidden.shape[:2], dtype=torch.float64)
    for number, length in enumerate(lengths):
        rising = torch.arange(1, length + 1, dtype=torch.float64)
        share = torch.ones(length, dtype=torch.float64) if stat is Stat.MEAN_HIDDEN else rising
        weights[number, :length] = share / share.sum()
    weights = weights.to(hidden.device)
    step = max(1, POOL_ELEMENTS // (hidden.shape[1] * hidden.shape[2]))
    return torch.cat(
        [
            torch.bmm(weights[n : n + step, None], hidden[n : n + step].double()).squeeze(1)
            for n in range(0, len(lengths), step)
        ]
    )


def _to_cpu(stats: Sequence[HeadStats]) -> list[HeadStats]:
    """Move results to the CPU in float64, in one transfer per quantity."""
    sizes = [len(example.nll) for example in stats]

    def move(values: Sequence[Tensor]) -> Sequence[Tensor]:
        return torch.split(torch.cat([value.double() for value in values]).cpu(), sizes)

    nll = move([example.nll for example in stats])
    entropy = [example.entropy for example in stats if example.entropy is not None]
    inner = [example.inner for example in stats if example.inner is not None]
    spread = move(entropy) if entropy else [None] * len(stats)
    inners = move(inner) if inner else [None] * len(stats)
    norms: list[dict[bool, Tensor]] = [{} for _ in stats]
    for with_end in stats[0].sq_norm if stats else ():
        moved = torch.stack([example.sq_norm[with_end] for example in stats]).cpu()
        for number, value in enumerate(moved):
            norms[number][with_end] = value
    return [HeadStats(*row) for row in zip(nll, spread, inners, norms, strict=True)]


def _measured(
    row: Rendered, stats: HeadStats | None, pooled: "dict[Stat, Float[np.ndarray, ' dim']]"
) -> Measured:
    if stats is None:
        return Measured(row, np.full(len(row.targets), np.nan), None, None, {}, pooled)
    return Measured(
        row,
        stats.nll.numpy(),
        stats.entropy.numpy() if stats.entropy is not None else None,
        stats.inner.numpy() if stats.inner is not None else None,
        {with_end: float(value) for with_end, value in stats.sq_norm.items()},
        pooled,
    )
