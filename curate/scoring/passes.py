"""Run one shard through one pass, in a worker: stream, render, batch, forward, reduce, tabulate."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa

from curate.contracts import (
    FAILURE,
    OUT_OF_MEMORY,
    TOKENS_RUN,
    Columns,
    DerivedScorer,
    Example,
    ForwardScorer,
    Rendering,
    RowScorer,
    SegmentStats,
)
from curate.errors import CurateError, ExampleFailure, ScoreError
from curate.models.batch import plan_batches
from curate.models.load import load_model
from curate.models.memory import is_device_error, is_out_of_memory
from curate.models.text.render import Renderer
from curate.scoring.inputs import Inputs, inputs_of
from curate.scoring.outcome import INPUT_FAILED
from curate.scoring.part_table import check_columns, is_finite, part_table, reason_of
from curate.scoring.plan import Pass, PassMember
from curate.scoring.resources import refuse_lack_of_memory, resources_of
from curate.scoring.scope import ids_in
from curate.scoring.windows import WINDOW, Window, ahead, read_examples, windows

if TYPE_CHECKING:
    from curate.models.load import LoadedModel
    from curate.models.text.render import Rendered

ROW_BLOCK: Final = 256  # examples given to a row scorer together: part of what decides its bits
NON_FINITE: Final = "non_finite"

_FORWARD_IMPORTS: Final = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto",
    "curate.models.passes.forward", "curate.scoring.passes", "curate.store.parts",
)  # fmt: skip
_EXTRA: Final = (FAILURE, TOKENS_RUN)  # columns a row scorer may return beside its outputs

Part = tuple[pa.Table, Mapping[str, Any]]


@final
class ForwardPass:
    """Forward scorers that share a model, loaded once; `run` takes one shard through it.

    Memory beyond the model: the token ids of one shard, one batch, and the results. Scores do not
    depend on which other scorers ride along, nor on the worker: on a CPU, one thread computes.
    """

    def __init__(self, spec: Pass, device: str, model: "LoadedModel | None" = None) -> None:
        from curate.models.passes.forward import Forward
        from curate.models.passes.packing import FLASH_DTYPES, packing_flaw

        if model is None:
            assert spec.model is not None
            with _one_thread(device):
                model = load_model(spec.model, device, spec.dtype)
        self.model = model
        self.spec = spec
        self.only = _only(spec)
        self.renderer = Renderer(model.tokenizer, model.resolved.max_length, model.resolved.chat)
        self.padded_because = "rows are padded on a CPU"
        if device.startswith("cuda"):
            no_kernel = (
                None if model.head.weight.dtype in FLASH_DTYPES else f"{model.dtype} has none"
            )
            self.padded_because = no_kernel or packing_flaw(model) or ""
        self._forward = Forward(model, packed=not self.padded_because)
        self.window = WINDOW if self._forward.is_queued else None

    def run(self, shard: Path, inputs: Mapping[str, Path] | None = None) -> dict[str, Part]:
        """Return, by score set id, the part of one shard and the facts of its run.

        On a GPU the next examples are rendered while a window of them runs.
        Raises `ScoreError` when a scorer breaks its contract; an example that cannot be scored
        gets a failure with its reason instead.
        """
        ids: list[str] = []
        reading_s = 0.0
        collected = [_Collected(ride, shard.stem) for ride in self.spec.rides]
        for window in self._windows(shard):
            ids += window.ids
            reading_s += window.read_s
            for rendering in self.spec.renderings:
                device = self.model.device
                with _one_thread(device), resources_of(shard.stem, device):
                    self._run_rendering(
                        rendering,
                        window.rendered.pop(rendering),
                        window.ids,
                        window.first,
                        collected,
                    )
        for rider in collected:
            refuse_lack_of_memory(shard.stem, ids, rider.failures, self.model.device)
        facts = self._facts()
        share = reading_s / len(collected)
        return {rider.ride.set_id: rider.part(ids, facts, share) for rider in collected}

    def _windows(self, shard: Path) -> Iterator[Window]:
        stream = windows(self.renderer, self.spec.renderings, shard, self.only, size=self.window)
        return ahead(stream) if self.window is not None else stream

    def _facts(self) -> dict[str, Any]:
        device = self.model.device
        if not self._forward.is_queued:
            return {"device": device}
        packing = f"padded: {self.padded_because}" if self.padded_because else "packed"
        return {"device": device, "rows": packing}

    def _run_rendering(
        self,
        rendering: Rendering,
        rows: Sequence["Rendered | str"],
        ids: Sequence[str],
        first: int,
        collected: Sequence["_Collected"],
    ) -> None:
        from curate.models.passes.forward import PassRequest

        began = time.perf_counter()
        riders = [rider for rider in collected if rendering in rider.segment_names]
        wants = PassRequest.of([rider.scorer for rider in riders])
        lengths = np.array([0 if isinstance(row, str) else len(row.ids) for row in rows])
        for number, row in enumerate(rows, first):
            if isinstance(row, str):
                for rider in riders:
                    rider.fail(number, row)
        split_before = self._forward.n_split
        plan = plan_batches(lengths, ids, self.spec.batch_tokens, packed=self._forward.packed)
        batches = [batch.tolist() for batch in plan]
        results = self._forward.run_all(
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
        for rider in riders:
            rider.tokens += int(lengths.sum())
            rider.n_split += self._forward.n_split - split_before
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
        return table, {**facts, **spent}


@final
class RowPass:
    """One row or derived scorer, loaded once; `run` takes one shard through it, in fixed blocks."""

    def __init__(self, spec: Pass, device: str) -> None:
        scorer = spec.rides[0].scorer
        assert isinstance(scorer, RowScorer | DerivedScorer)
        self.spec = spec
        self.scorer = scorer
        self.only = _only(spec)
        reads_weights = scorer.model_role is not None and scorer.reads_weights
        self.device = device if reads_weights else "cpu"
        with _one_thread(self.device) if reads_weights else _one_thread_of_torch(self.device):
            self._score = scorer.load(spec.context(self.device))

    def run(self, shard: Path, inputs: Mapping[str, Path] | None = None) -> dict[str, Part]:
        """Return the part of one shard, as `ForwardPass.run` does."""
        began = time.perf_counter()
        derived = isinstance(self.scorer, DerivedScorer)
        read = inputs_of(shard, inputs or {}, self.only) if derived else None
        ids: list[str] = []
        results = _RowResults(self.scorer, self._score, read, shard.stem)
        with _one_thread_of_torch(self.device), resources_of(shard.stem, self.device):
            for examples in read_examples(shard, ROW_BLOCK, self.only, self.scorer.row_columns()):
                numbers = range(len(ids), len(ids) + len(examples))
                ids += [example.id for example in examples]
                results.run(examples, numbers)
        if read is not None and list(read.ids) != ids:
            raise ScoreError(
                f"shard {shard.stem}: its scores hold other examples; nothing was written"
            )
        refuse_lack_of_memory(shard.stem, ids, results.failures, self.device)
        table = part_table(ids, results.rows, results.failures, self.scorer.outputs)
        wall_s = time.perf_counter() - began
        facts = {
            "tokens": results.tokens,
            "wall_s": wall_s,
            "device": self.device,
            "n_oom_split": 0,
        }
        return {self.spec.rides[0].set_id: (table, facts)}


@final
@dataclass(slots=True)
class _RowResults:
    """Progress of a row or derived scorer on one shard: finished rows, failures, tokens run."""

    scorer: RowScorer | DerivedScorer
    score: Callable[..., Columns]
    read: Inputs | None
    shard: str
    rows: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    tokens: int = 0
    fits: int = sys.maxsize  # examples at once that memory is not known to be too small for

    def run(self, examples: Sequence[Example], numbers: Sequence[int]) -> None:
        """Score a block; ``numbers`` are the places of its examples in the shard."""
        if self.read is not None:
            scored = [self.read.scored[number] for number in numbers]
            self.failures |= {
                n: INPUT_FAILED for n, fine in zip(numbers, scored, strict=True) if not fine
            }
            examples = [example for example, fine in zip(examples, scored, strict=True) if fine]
            numbers = [number for number, fine in zip(numbers, scored, strict=True) if fine]
        if examples:
            self._run_block(examples, numbers)

    def _run_block(self, examples: Sequence[Example], numbers: Sequence[int]) -> None:
        start = 0
        while start < len(examples):
            stop = min(start + self.fits, len(examples))
            if self._run_piece(examples[start:stop], numbers[start:stop]):
                start = stop
            else:
                self.fits = (stop - start + 1) // 2
                import torch

                torch.cuda.empty_cache()  # after the handler, whose traceback held the tensors

    def _run_piece(self, examples: Sequence[Example], numbers: Sequence[int]) -> bool:
        """Score some examples; return False if memory ran out and half of them may fit."""
        try:
            given = () if self.read is None else (self.read.take(numbers),)
            columns = self.score(examples, *given)
        except CurateError:
            raise
        except Exception as error:
            if is_device_error(error):
                raise
            if is_out_of_memory(error) and len(examples) > 1:
                return False
            if len(examples) == 1:
                if is_out_of_memory(error):
                    self.failures[numbers[0]] = OUT_OF_MEMORY
                    return True
                known = isinstance(error, ExampleFailure)
                self.failures[numbers[0]] = str(error) if known else reason_of(error)
                return True
            for example, number in zip(examples, numbers, strict=True):  # find the one to blame
                self._run_piece([example], [number])
            return True
        self._keep(columns, numbers)
        return True

    def _keep(self, columns: Columns, numbers: Sequence[int]) -> None:
        named = {name: values for name, values in columns.items() if name not in _EXTRA}
        check_columns(self.scorer.name, self.shard, named, self.scorer.outputs)
        for name, values in columns.items():
            if len(values) != len(numbers):
                raise ScoreError(
                    f"shard {self.shard}: scorer {self.scorer.name!r} returned {len(values)} rows "
                    f"of {name!r} for {len(numbers)} examples; nothing was written"
                )
        self.tokens += int(sum(columns.get(TOKENS_RUN, ())))
        reasons = columns.get(FAILURE, [None] * len(numbers))
        for place, (number, reason) in enumerate(zip(numbers, reasons, strict=True)):
            row = {name: values[place] for name, values in named.items()}
            if reason is not None:
                self.failures[number] = reason
            elif all(is_finite(value) for value in row.values()):
                self.rows[number] = row
            else:
                self.failures[number] = NON_FINITE


@final
@dataclass(frozen=True, slots=True)
class WorkerPass:
    """A pass as it travels to a worker, which loads it there."""

    spec: Pass

    @property
    def imports(self) -> tuple[str, ...]:
        """What a pass of a language model imports; other passes import little, or their own."""
        return _FORWARD_IMPORTS if self.spec.is_forward else ()

    def load(self, device: str) -> ForwardPass | RowPass:
        """Load models and tokenizers, ready to run shards."""
        kind = ForwardPass if self.spec.is_forward else RowPass
        return kind(self.spec, device)


def _only(spec: Pass) -> pa.Array | None:
    return None if spec.within is None else ids_in(spec.within)


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Compute with one thread on a CPU, so that bits do not depend on how many workers there are."""
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_thread_of_torch(device: str) -> AbstractContextManager[None]:
    """Do the same where torch is there: a scorer that reads text alone does not import it."""
    return _one_thread(device) if "torch" in sys.modules else nullcontext()
