"""Run one shard through a row or derived scorer, in a worker: fixed blocks, the results tabulated."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from curate.contracts import (
    FAILURE,
    KILLS_WORKER,
    OUT_OF_MEMORY,
    TOKENS_RUN,
    Columns,
    DerivedScorer,
    Example,
    RowScorer,
)
from curate.errors import CurateError, ExampleFailure, ScoreError
from curate.models.memory import is_device_error, is_out_of_memory
from curate.scoring.executors.course import Course
from curate.scoring.executors.shard_run import EARLIER_S
from curate.scoring.executors.worker import WHOLE, Portion
from curate.scoring.inputs import Inputs, ids_of, inputs_of
from curate.scoring.one_thread import one_thread, one_thread_of_torch
from curate.scoring.outcome import INPUT_FAILED
from curate.scoring.part_table import (
    NON_FINITE,
    Part,
    check_columns,
    is_finite,
    part_table,
    reason_of,
)
from curate.scoring.plan import Pass
from curate.scoring.resources import refuse_lack_of_memory, resources_of
from curate.scoring.scope import ids_in, narrowed
from curate.scoring.windows import read_examples
from curate.store.records import digest

_EXTRA: Final = (FAILURE, TOKENS_RUN)  # columns a row scorer may return beside its outputs


@final
class RowPass:
    """One row or derived scorer, loaded once; `run` takes one shard through it, in fixed blocks."""

    def __init__(self, spec: Pass, device: str) -> None:
        scorer = spec.rides[0].scorer
        assert isinstance(scorer, RowScorer | DerivedScorer)
        self.spec = spec
        self.scorer = scorer
        self.block = spec.row_block
        self.only = None if spec.within is None else ids_in(spec.within)
        reads_weights = scorer.model_role is not None and scorer.reads_weights
        self.device = device if reads_weights else "cpu"
        with one_thread(self.device) if reads_weights else one_thread_of_torch(self.device):
            self._score = scorer.load(spec.context(self.device))

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
        """Return the part of one shard, as `ForwardPass.run` does, with blocks in place of batches.

        Omitted examples count as examples on which the scorer raised an error: it is not given
        them, and the others of their block one by one.
        """
        began = time.perf_counter()
        course = course or Course()
        course.open(self.spec.set_ids, self.device.partition(":")[0], self.block)
        only = narrowed(self.only, portion)
        derived = isinstance(self.scorer, DerivedScorer)
        read = inputs_of(shard, inputs or {}, only) if derived else None
        ids: list[str] = []
        results = _RowResults(self.scorer, self._score, read, shard.stem, portion.omitted)
        with one_thread_of_torch(self.device), resources_of(shard.stem, self.device):
            for examples in read_examples(shard, self.block, only, self.scorer.row_columns()):
                numbers = range(len(ids), len(ids) + len(examples))
                ids += [example.id for example in examples]
                self._run_block(examples, numbers, results, course)
        if course.stripe is not None:
            return {}
        if read is not None and list(read.ids) != ids:
            raise ScoreError(
                f"shard {shard.stem}: its scores hold other examples; nothing was written"
            )
        refuse_lack_of_memory(shard.stem, ids, results.failures, self.device)
        table = part_table(ids, results.rows, results.failures, self.scorer.outputs)
        facts = {
            "tokens": results.tokens,
            "wall_s": time.perf_counter() - began + course.spent_s,
            "device": self.device,
            "n_oom_split": 0,
            EARLIER_S: course.spent_s,
        }
        return {self.spec.rides[0].set_id: (table, facts)}

    def _run_block(
        self,
        examples: Sequence[Example],
        numbers: range,
        results: "_RowResults",
        course: Course,
    ) -> None:
        ids = [example.id for example in examples]
        unit = digest(repr((ids, sorted(results.omitted.intersection(ids)))))
        is_own = course.is_own()
        if (kept := course.take(unit)) is not None:
            results.take_over(kept, numbers)
        elif is_own:
            tokens_before = results.tokens
            results.run(examples, numbers)
            n_tokens = results.tokens - tokens_before
            course.finished(unit, len(ids), partial(results.kept, ids, numbers, n_tokens))
        course.reached(numbers.stop)


@final
@dataclass(slots=True)
class _RowResults:
    """Progress of a row or derived scorer on one shard: finished rows, failures, tokens run."""

    scorer: RowScorer | DerivedScorer
    score: Callable[..., Columns]
    read: Inputs | None
    shard: str
    omitted: frozenset[str] = frozenset()
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

    def kept(self, ids: Sequence[str], numbers: range, n_tokens: int) -> pa.Table:
        """Return what was found for a block, as a table to keep."""
        rows = {n - numbers.start: self.rows[n] for n in numbers if n in self.rows}
        failures = {n - numbers.start: self.failures[n] for n in numbers if n in self.failures}
        table = part_table(ids, rows, failures, self.scorer.outputs)
        return table.append_column(TOKENS_RUN, pa.array([n_tokens] * len(ids), pa.int64()))

    def take_over(self, table: pa.Table, numbers: Sequence[int]) -> None:
        """Take what `kept` returned in an earlier run, for the same block."""
        for number, row in zip(numbers, table.to_pylist(), strict=True):
            if row[FAILURE] is not None:
                self.failures[number] = row[FAILURE]
            else:
                self.rows[number] = {name: row[name] for name in self.scorer.outputs}
        self.tokens += table.column(TOKENS_RUN)[0].as_py()

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
        if not self.omitted.isdisjoint(example.id for example in examples):
            return self._run_singly(examples, numbers)
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
            return self._run_singly(examples, numbers)  # to find the one to blame
        self._keep(columns, numbers)
        return True

    def _run_singly(self, examples: Sequence[Example], numbers: Sequence[int]) -> bool:
        for example, number in zip(examples, numbers, strict=True):
            if example.id in self.omitted:
                self.failures[number] = KILLS_WORKER
            else:
                self._run_piece([example], [number])
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
