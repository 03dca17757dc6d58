"""Run one shard through one pass, in a worker: stream, render, batch, forward, reduce, tabulate."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import (
    KILLS_WORKER,
    OUT_OF_MEMORY,
    ForwardScorer,
    Rendering,
    SegmentStats,
)
from curate.errors import CurateError, ExampleFailure
from curate.models.architectures import modelling_module
from curate.models.load import load_model
from curate.models.text.render import Renderer
from curate.scoring.batching import SHARED_FACT, Batching
from curate.scoring.executors.shard_run import PADDING_TOKENS, PASS_TOKENS
from curate.scoring.executors.worker import WHOLE, Portion
from curate.scoring.inputs import ids_of
from curate.scoring.one_thread import one_thread
from curate.scoring.part_table import (
    NON_FINITE,
    Part,
    check_columns,
    is_finite,
    part_table,
    reason_of,
)
from curate.scoring.plan import Pass, PassMember
from curate.scoring.resources import refuse_lack_of_memory, resources_of
from curate.scoring.row_pass import RowPass
from curate.scoring.scope import ids_in, narrowed
from curate.scoring.windows import WINDOW, Window, ahead, windows

if TYPE_CHECKING:
    from curate.models.load import LoadedModel

_FORWARD_IMPORTS: Final = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "curate.models.passes.forward", "curate.models.passes.sharing", "curate.scoring.passes", "curate.store.parts",
)  # fmt: skip


@final
class ForwardPass:
    """Forward scorers that share a model, loaded once; `run` takes one shard through it.

    Memory beyond the model: the token ids of one shard, one batch, and the results. Scores do not
    depend on which other scorers ride along, nor on the worker: on a CPU, one thread computes.
    """

    def __init__(self, spec: Pass, device: str, model: "LoadedModel | None" = None) -> None:
        if model is None:
            assert spec.model is not None
            with one_thread(device):
                model = load_model(spec.model, device, spec.dtype)
        self.model = model
        self.spec = spec
        self.only = None if spec.within is None else ids_in(spec.within)
        self.renderer = Renderer(model.tokenizer, model.resolved.max_length, model.resolved.chat)
        self.batching = Batching(model, spec.batch_tokens, share=spec.share_prefixes)
        self.window = WINDOW if self.batching.forward.is_queued else None
        self._ran = [0, 0]  # tokens of the shard, and padding

    def ids(self, shard: Path) -> list[str]:
        """Return the ids of the examples that `run` runs."""
        return ids_of(shard, self.only)

    def run(
        self, shard: Path, inputs: Mapping[str, Path] | None = None, portion: Portion = WHOLE
    ) -> dict[str, Part]:
        """Return, by score set id, the part of one shard and the facts of its run.

        On a GPU the next examples are rendered while a window of them runs. Of omitted examples a
        blank of the same length runs in the batch, unless nothing else is in it.
        Raises `ScoreError` when a scorer breaks its contract; an example that cannot be scored
        gets a failure with its reason instead.
        """
        ids: list[str] = []
        self._ran = [0, 0]
        reading_s = 0.0
        collected = [_Collected(ride, shard.stem) for ride in self.spec.rides]
        for window in self._windows(shard, portion):
            ids += window.ids
            reading_s += window.read_s
            for rendering in self.spec.renderings:
                device = self.model.device
                with one_thread(device), resources_of(shard.stem, device):
                    self._run_rendering(rendering, window, collected)
        for rider in collected:
            refuse_lack_of_memory(shard.stem, ids, rider.failures, self.model.device)
        facts = {**self.batching.facts(), PASS_TOKENS: self._ran[0], PADDING_TOKENS: self._ran[1]}
        share = reading_s / len(collected)
        return {rider.ride.set_id: rider.part(ids, facts, share) for rider in collected}

    def _windows(self, shard: Path, portion: Portion) -> Iterator[Window]:
        only = narrowed(self.only, portion)
        stream = windows(
            self.renderer, self.spec.renderings, shard, only, size=self.window, portion=portion
        )
        return ahead(stream) if self.window is not None else stream

    def _run_rendering(
        self, rendering: Rendering, window: Window, collected: Sequence["_Collected"]
    ) -> None:
        from curate.models.passes.forward import PassRequest

        began = time.perf_counter()
        first, ids, rows = window.first, window.ids, window.rendered.pop(rendering)
        omitted = {n for n, example_id in enumerate(ids) if example_id in window.omitted}
        riders = [rider for rider in collected if rendering in rider.segment_names]
        wants = PassRequest.of([rider.scorer for rider in riders])
        for number, row in enumerate(rows):
            reason = KILLS_WORKER if number in omitted else row
            if isinstance(reason, str):
                for rider in riders:
                    rider.fail(first + number, reason)
        split_before = self.batching.n_split
        planned = self.batching.plan(rows, ids)
        batches = [batch for batch in planned.rows if not omitted.issuperset(batch)]
        results = planned.forward.run_all(
            ([row for n in batch if not isinstance(row := rows[n], str)] for batch in batches),
            wants,
        )
        norm = self.model.head_weight_sq_norm if wants.head.grams else None
        for number, place, measured in results:
            for rider in riders:
                if measured is None:
                    rider.fail(first + batches[number][place], OUT_OF_MEMORY)
                    continue
                needs_norm = bool(rider.scorer.score_end in wants.head.grams)
                stats = measured.stats(rider.scorer, norm if needs_norm else None)
                rider.add(first + batches[number][place], rendering, stats)
        self._ran[0] += planned.tokens - planned.n_shared
        self._ran[1] += planned.padding
        for rider in riders:
            rider.tokens += planned.tokens
            rider.n_shared += planned.n_shared
            rider.n_split += self.batching.n_split - split_before
            rider.wall_s += (time.perf_counter() - began) / len(riders)


@final
@dataclass(slots=True)
class _Collected:
    """Progress of one forward scorer: finished rows, failures, and rows that await a segment."""

    ride: PassMember
    shard: str
    rows: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, dict[str, SegmentStats]] = field(default_factory=dict)
    tokens: int = 0
    n_shared: int = 0
    n_split: int = 0
    wall_s: float = 0.0

    @property
    def scorer(self) -> ForwardScorer:
        assert isinstance(self.ride.scorer, ForwardScorer)
        return self.ride.scorer

    @property
    def segment_names(self) -> dict[Rendering, list[str]]:
        """Names of the scorer's segments by rendering."""
        names: dict[Rendering, list[str]] = {}
        for segment in self.scorer.segments():
            names.setdefault(segment.rendering, []).append(segment.name)
        return names

    def fail(self, row: int, reason: str) -> None:
        self.failures.setdefault(row, reason)
        self.waiting.pop(row, None)

    def add(self, row: int, rendering: Rendering, stats: SegmentStats) -> None:
        if row in self.failures:
            return
        names = self.segment_names
        known = self.waiting.setdefault(row, {})
        known.update((name, stats) for name in names[rendering])
        if len(known) == sum(len(of_one) for of_one in names.values()):
            self._reduce(row, self.waiting.pop(row))

    def _reduce(self, row: int, stats: Mapping[str, SegmentStats]) -> None:
        try:
            values = self.scorer.reduce(stats)
        except ExampleFailure as failure:
            self.fail(row, failure.reason)
            return
        except (CurateError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - one poison example must not end the job
            self.fail(row, reason_of(error))
            return
        check_columns(self.scorer.name, self.shard, values, self.scorer.outputs)
        if all(is_finite(value) for value in values.values()):
            self.rows[row] = values
        else:
            self.fail(row, NON_FINITE)

    def part(self, ids: Sequence[str], facts: Mapping[str, Any], extra_s: float) -> Part:
        table = part_table(ids, self.rows, self.failures, self.scorer.outputs)
        spent = {
            "tokens": self.tokens,
            "wall_s": self.wall_s + extra_s,
            "n_oom_split": self.n_split,
        }
        shared = {SHARED_FACT: self.n_shared} if self.n_shared else {}
        return table, {**facts, **spent, **shared}


@final
@dataclass(frozen=True, slots=True)
class WorkerPass:
    """A pass as it travels to a worker, which loads it there."""

    spec: Pass

    @property
    def imports(self) -> tuple[str, ...]:
        """What a pass of a language model imports; other passes import little, or their own."""
        if not self.spec.is_forward or self.spec.model is None:
            return ()
        own = modelling_module(Path(self.spec.model.path))
        return _FORWARD_IMPORTS if own is None else (*_FORWARD_IMPORTS, own)

    def load(self, device: str) -> ForwardPass | RowPass:
        """Load models and tokenizers, ready to run shards."""
        kind = ForwardPass if self.spec.is_forward else RowPass
        return kind(self.spec, device)
