"""Run one shard through one pass, in a worker: stream, render, batch, forward, reduce, tabulate."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
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
from curate.models.passes.vllm_forward import VllmModel, load_vllm
from curate.models.room import cards_of
from curate.models.text.render import Renderer
from curate.scoring.batching import SHARED_FACT, Batches, Batching
from curate.scoring.engine_batching import EngineBatching
from curate.scoring.executors.course import Course
from curate.scoring.executors.shard_run import EARLIER_S, PADDING_TOKENS, PASS_TOKENS
from curate.scoring.executors.worker import WHOLE, Portion
from curate.scoring.inputs import ids_of
from curate.scoring.kept_rows import kept_rows, kept_table
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
from curate.store.records import digest

if TYPE_CHECKING:
    from curate.models.load import LoadedModel
    from curate.models.passes.forward import Measured, PassRequest
    from curate.models.text.render import Rendered

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

    def __init__(
        self, spec: Pass, device: str, model: "LoadedModel | VllmModel | None" = None
    ) -> None:
        if model is None:
            assert spec.model is not None
            load = load_model if spec.backend is None else load_vllm
            with one_thread(device):
                model = load(spec.model, device, spec.dtype)
        self.model = model
        self.spec = spec
        self.only = None if spec.within is None else ids_in(spec.within)
        self.renderer = Renderer(model.tokenizer, model.resolved.max_length, model.resolved.chat)
        self.batching: Batching | EngineBatching = (
            EngineBatching(model, spec.batch_tokens)
            if isinstance(model, VllmModel)
            else Batching(
                model, spec.batch_tokens, share=spec.share_prefixes, alone_tokens=spec.alone_tokens
            )
        )
        self.window = WINDOW if self.batching.forward.is_queued else None
        self._ran = [0, 0]  # tokens of the shard, and padding

    def ids(self, shard: Path) -> list[str]:
        """Return the ids of the examples that `run` runs."""
        return ids_of(shard, self.only)

    def run(
        self,
        shard: Path,
        inputs: Mapping[str, Path] | None = None,
        portion: Portion = WHOLE,
        course: Course | None = None,
    ) -> dict[str, Part]:
        """Return, by score set id, the part of one shard and the facts of its run.

        On a GPU the next examples are rendered while a window of them runs. Of omitted examples a
        blank of the same length runs in the batch, unless nothing else is in it. Batches that the
        ``course`` has are not run again; if it has a stripe, those of others are not run at all.
        Raises `ScoreError` when a scorer breaks its contract; an example that cannot be scored
        gets a failure with its reason instead.
        """
        ids: list[str] = []
        course = course or Course()
        course.open(self.spec.set_ids, *self._identity())
        self._ran = [0, 0]
        reading_s = course.spent_s
        collected = [
            _Collected(ride, shard.stem, n_split=course.n_split) for ride in self.spec.rides
        ]
        for window in self._windows(shard, portion):
            ids += window.ids
            reading_s += window.read_s
            for rendering in self.spec.renderings:
                with one_thread(self.model.device), resources_of(shard.stem, self.model.place):
                    self._run_rendering(rendering, window, collected, course)
        if course.stripe is not None:
            return {}
        for rider in collected:
            refuse_lack_of_memory(shard.stem, ids, rider.failures, self.model.place)
        facts = {
            **self.batching.facts(),
            PASS_TOKENS: self._ran[0],
            PADDING_TOKENS: self._ran[1],
            EARLIER_S: course.spent_s,
        }
        share = reading_s / len(collected)
        return {rider.ride.set_id: rider.part(ids, facts, share) for rider in collected}

    def _identity(self) -> tuple[object, ...]:
        """Return what decides the numbers of a batch beside its rows."""
        import torch

        device, forward = self.model.device.partition(":")[0], self.batching.forward
        budgets = self.spec.batch_tokens, self.spec.alone_tokens
        return budgets, device, forward.packed, torch.__version__

    def _windows(self, shard: Path, portion: Portion) -> Iterator[Window]:
        only = narrowed(self.only, portion)
        stream = windows(
            self.renderer, self.spec.renderings, shard, only, size=self.window, portion=portion
        )
        return ahead(stream) if self.window is not None else stream

    def _run_rendering(
        self,
        rendering: Rendering,
        window: Window,
        collected: Sequence["_Collected"],
        course: Course,
    ) -> None:
        from curate.models.passes.forward import PassRequest

        began = time.perf_counter()
        rows = window.rendered.pop(rendering)
        riders = [rider for rider in collected if rendering in rider.segment_names]
        for number, row in enumerate(rows):
            reason = KILLS_WORKER if window.ids[number] in window.omitted else row
            if isinstance(reason, str):
                for rider in riders:
                    rider.fail(window.first + number, reason)
        planned = self.batching.plan(rows, window.ids)
        n_split = self.batching.n_split
        wants = PassRequest.of([rider.scorer for rider in riders])
        norm = self.model.head_weight_sq_norm if wants.head.grams else None
        turn = self.spec.renderings.index(rendering)
        for batch, results in self._batches(_Turn(turn, window, rows, planned), wants, course):
            for number, measured in zip(batch, results, strict=True):
                for rider in riders:
                    if measured is None:
                        rider.fail(window.first + number, OUT_OF_MEMORY)
                        continue
                    needs_norm = bool(rider.scorer.score_end in wants.head.grams)
                    stats = measured.stats(rider.scorer, norm if needs_norm else None)
                    rider.add(window.first + number, rendering, stats)
        self._ran[0] += planned.tokens - planned.n_shared
        self._ran[1] += planned.padding
        for rider in riders:
            rider.tokens += planned.tokens
            rider.n_shared += planned.n_shared
            rider.n_split += self.batching.n_split - n_split
            rider.wall_s += (time.perf_counter() - began) / len(riders)

    def _batches(
        self, turn: "_Turn", wants: "PassRequest", course: Course
    ) -> Iterator[tuple[list[int], list["Measured | None"]]]:
        """Yield each batch with what was measured on its rows, those that were finished before first."""
        left: list[tuple[str, list[int]]] = []
        n_done = 0
        for batch in turn.planned.rows:
            unit, is_own = turn.unit(batch), course.is_own()
            if (kept := course.take(unit)) is not None:
                yield batch, list(kept_rows(kept, turn.rows_of(batch)))
                n_done += turn.n_tokens(batch)
            elif is_own and not turn.is_omitted(batch):
                left.append((unit, batch))
        n_tokens = n_done + sum(turn.n_tokens(batch) for _, batch in left)
        n_turns = len(self.spec.renderings)
        if n_done:
            course.reached(turn.examples(n_done / n_tokens, n_turns))
        split = self.batching.n_split
        results = turn.planned.forward.run_all((turn.rows_of(batch) for _, batch in left), wants)
        for unit, batch in left:
            measured = [row for _, _, row in islice(results, len(batch))]
            yield batch, measured
            n_split = self.batching.n_split - split
            split += n_split
            worth = turn.worth(batch, n_turns)
            course.finished(unit, worth, partial(kept_table, measured), n_split)
            n_done += turn.n_tokens(batch)
            course.reached(turn.examples(n_done / n_tokens, n_turns))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """One rendering of a window, which number it is of its pass, and its batches."""

    number: int
    window: Window
    rows: "Sequence[Rendered | str]"
    planned: Batches

    def rows_of(self, batch: Sequence[int]) -> "list[Rendered]":
        return [row for n in batch if not isinstance(row := self.rows[n], str)]

    def n_tokens(self, batch: Sequence[int]) -> int:
        return sum(len(row.ids) for row in self.rows_of(batch))

    def worth(self, batch: Sequence[int], n_turns: int) -> float:
        """Return the work of a batch, by tokens, in examples of the shard: as `examples` counts."""
        share = self.n_tokens(batch) / self.planned.tokens
        return len(self.window.ids) * share / n_turns

    def unit(self, batch: Sequence[int]) -> str:
        """Name a batch by its examples in order, which of them are blanks, and how it runs."""
        ids = [self.window.ids[n] for n in batch]
        blanks = sorted(self.window.omitted.intersection(ids))
        return digest(repr((self.number, self.planned.forward.shared, ids, blanks)))

    def is_omitted(self, batch: Sequence[int]) -> bool:
        return self.window.omitted.issuperset(self.window.ids[n] for n in batch)

    def examples(self, share: float, n_turns: int) -> float:
        """Return how many examples of the shard are done, with a share of this turn."""
        return self.window.first + len(self.window.ids) * (self.number + share) / n_turns


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
        """Load models and tokenizers, ready to run shards.

        Of several cards a forward pass takes all, and anything else the first.
        """
        if self.spec.is_forward:
            return ForwardPass(self.spec, device)
        return RowPass(self.spec, cards_of(device)[0])
