"""What a machine without the store does: one slice of a published plan, from its URL to its URL."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from curate.contracts.progress import Progress
from curate.errors import ConfigError, InterruptedRunError, StoreError
from curate.scoring.executors.cut_off import STARTED
from curate.scoring.executors.worker import ShardTask, TaskReport
from curate.scoring.options import ScoringOptions, TimeIsUpError
from curate.scoring.plan import plan_passes
from curate.scoring.remote.carrier import Carrier
from curate.scoring.remote.document import PlanDocument, PlannedShard
from curate.scoring.remote.places import DATA, SCOPES, Arrivals, fetch_needed, part_folder
from curate.scoring.remote.planned import refuse_other_command, requests_of
from curate.scoring.requests import ScoreRequest, in_waves
from curate.scoring.run_shards import run_shards
from curate.scoring.slices import FOLDER, Slice, SliceRecord, SliceReport
from curate.scoring.workload import ShardSize
from curate.store import Shard, locks
from curate.store.cache import cache_folder
from curate.store.objects import Objects
from curate.store.parts import (
    FOREIGN_TMP_S,
    LOCK,
    TMP_MARK,
    owner,
    owner_is_dead,
    untouched_s,
)
from curate.store.records import digest


@final
@dataclass(frozen=True, slots=True)
class ObjectRecords:
    """Records of slices among objects."""

    objects: Objects

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one, in place of an earlier one of that name."""
        self.objects.write(f"{FOLDER}/{name}", json.dumps(value, indent=2, sort_keys=True).encode())

    def all(self) -> dict[str, Mapping[str, Any]]:
        """Return those that can be read, by name; one that is just being written cannot."""
        found = {}
        for key in self.objects.sizes(FOLDER):
            try:
                value = json.loads(self.objects.read(key) or b"null")
                _ = SliceRecord(**value).of
            except (ValueError, TypeError):
                continue
            found[key.rpartition("/")[2]] = value
        return found

    def remove(self, name: str) -> None:
        """Remove one."""
        self.objects.remove([f"{FOLDER}/{name}"])


def score_published(
    objects: Objects,
    asked: Mapping[str, Any],
    slice_: Slice,
    options: ScoringOptions,
    progress: Progress,
) -> SliceReport:
    """Score a slice of the plan that is published below a URL; the store is not needed.

    ``asked`` is what was typed that decides the numbers: it must be what the plan was made with.
    ``options`` say on which device, with how many workers, and where models lie.

    Raises `ConfigError` without a plan or for another command, `ModelError` for a model that is not here
    or not the same, `StoreError` where the URL cannot be reached, and `InterruptedRunError` as `score`.
    """
    began = time.perf_counter()
    plan = PlanDocument.find(objects)
    if plan is None:
        raise ConfigError(
            f"no plan is published at {objects}; on the machine with the store, type the same command with "
            "--plan-only instead of --slice"
        )
    refuse_other_command(plan, asked, str(objects))
    with _work_folder(objects) as folder:
        for name, scope in plan.scopes.items():
            fetch_needed(
                objects, f"{SCOPES}/{name}{DATA}", folder / f"{name}{DATA}", scope.checksum
            )
        work = _Work(objects, plan, requests_of(plan, options, folder), options, slice_, folder)
        work.begin()
        try:
            work.run(progress, began)
        except KeyboardInterrupt:
            raise InterruptedRunError(work.saved("interrupted")) from None
        except TimeIsUpError:
            raise InterruptedRunError(work.saved(f"stopped after {options.max_hours} h")) from None
    return work.end(time.perf_counter() - began)


@contextmanager
def _work_folder(objects: Objects) -> Iterator[Path]:
    """Yield a folder for copies, removed at the end; those of killed runs go, but for their marks."""
    base = cache_folder() / "work"
    name = f"{digest(str(objects), 8)}{TMP_MARK}{owner()}-{time.time_ns()}"
    folder = base / name
    folder.mkdir(parents=True)
    try:
        with locks.held(folder / LOCK):
            for old in base.glob(f"*{TMP_MARK}*"):
                if old != folder and owner_is_dead(old):
                    if old.name.partition(TMP_MARK)[0] == name.partition(TMP_MARK)[0]:
                        _keep_marks(old, folder)
                    shutil.rmtree(old, ignore_errors=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unfinished_folder(objects: Objects) -> Path:
    """Return the folder for what is finished of shards on this machine; what nobody took up is removed."""
    folder = cache_folder() / "unfinished" / digest(str(objects), 8)
    for shard in folder.glob("*"):
        if untouched_s(shard) > FOREIGN_TMP_S:
            shutil.rmtree(shard, ignore_errors=True)
    return folder


def _keep_marks(old: Path, folder: Path) -> None:
    for mark in old.rglob(f"*{STARTED}"):
        kept = folder / mark.relative_to(old)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch()


@final
@dataclass
class _Work:
    """The state of one slice: what is missing below the URL, and what this run has written."""

    objects: Objects
    plan: PlanDocument
    requests: Mapping[str, ScoreRequest]
    options: ScoringOptions
    slice: Slice
    folder: Path
    missing: dict[str, set[str]] = field(default_factory=dict)
    record: SliceRecord | None = None
    n_found: int = 0
    n_written: int = 0
    n_late: int = 0

    def __post_init__(self) -> None:
        self.unfinished = _unfinished_folder(self.objects)
        self.scope: Sequence[PlannedShard] = self.slice.shards(self.plan.shards)
        own = {shard.shard_id for shard in self.scope}
        there = Arrivals.below(self.objects)
        for planned in self.plan.sets:
            set_id = planned.key.set_id
            lacking = {
                shard.shard_id
                for shard in self.scope
                if shard.shard_id in own.intersection(planned.missing)
                and not there.attempts(self._folder_of(set_id, planned.budgets, shard))
            }
            self.missing[set_id] = lacking
            self.n_found += len(self.scope) - len(lacking)

    def begin(self) -> None:
        sets = {planned.key.set_id: planned.alias for planned in self.plan.sets}
        ids = [shard.shard_id for shard in self.scope]
        self.record = SliceRecord.begin(ObjectRecords(self.objects), self.slice, sets, ids)

    def end(self, wall_s: float) -> SliceReport:
        assert self.record is not None
        self.record.end(self.n_written, self.n_late)
        return SliceReport(
            self.slice, len(self.scope), self.n_found, self.n_written, self.n_late, wall_s,
            str(self.objects),
        )  # fmt: skip

    def run(self, progress: Progress, began: float) -> None:
        for wave in in_waves(list(self.requests.values())):
            self._run_wave([r for r in wave if self.missing[r.key.set_id]], progress, began)

    def saved(self, why: str) -> str:
        """Say what is saved and how to resume."""
        n_done = self.n_found + self.n_written + self.n_late
        total = len(self.plan.sets) * len(self.scope)
        return (
            f"{why}: {n_done} of {total} shards of slice {self.slice} are saved at {self.objects}; rerun the "
            "same command to resume"
        )

    def _run_wave(self, requests: Sequence[ScoreRequest], progress: Progress, began: float) -> None:
        passes = plan_passes(requests)
        tasks = [task for n, pass_ in enumerate(passes) for task in self._tasks(n, pass_.set_ids)]
        if not tasks:
            return

        def finished(report: TaskReport) -> None:
            if report.is_gone:
                raise StoreError(
                    f"{report.task.shard} was removed while it was scored; run the same command again"
                )
            self.n_written += len(report.task.parts) - report.n_late
            self.n_late += report.n_late

        def idle() -> None:
            self.options.stop_in_time(began)

        sizes = {s.shard_id: ShardSize(s.n_examples, s.text_bytes) for s in self.scope}
        run_shards(passes, tasks, self.options, progress, self.folder, finished, idle, sizes)

    def _tasks(self, index: int, set_ids: Sequence[str]) -> list[ShardTask]:
        request = self.requests[set_ids[0]]
        tasks = []
        for shard in self.scope:
            wanted = [set_id for set_id in set_ids if shard.shard_id in self.missing[set_id]]
            if not wanted:
                continue
            # a pass of its own folder: it removes its copies while another may read the same shard
            here = self.folder / f"{index}" / "examples" / f"{shard.shard_id}{DATA}"
            n = shard.n_examples
            if request.scope is not None:
                n = request.scope.n_of(Shard(shard.shard_id, shard.dataset, here, n))
            read = {a: r for i in wanted for a, r in self.plan.set_of(i).reads.items()}
            parts = {set_id: self._part(index, set_id, shard) for set_id in wanted}
            inputs = {a: self._part(index, set_id, shard) for a, (set_id, _) in read.items()}
            carrier = self._carrier(shard, wanted, read)
            task = ShardTask(index, shard.shard_id, here, n, parts, inputs, carrier=carrier)
            tasks.append(replace(task, unfinished=self.unfinished / shard.shard_id))
        return tasks

    def _carrier(
        self, shard: PlannedShard, set_ids: Sequence[str], read: Mapping[str, Sequence[Any]]
    ) -> Carrier:
        folders = {i: self._folder_of(i, self.plan.set_of(i).budgets, shard) for i in set_ids}
        inputs = {a: self._folder_of(set_id, cut, shard) for a, (set_id, cut) in read.items()}
        return Carrier(self.objects, self.plan.plan_id, shard.checksum, folders, inputs)

    def _part(self, index: int, set_id: str, shard: PlannedShard) -> Path:
        return self.folder / f"{index}" / "scores" / set_id / f"{shard.shard_id}{DATA}"

    def _folder_of(self, set_id: str, budgets: str, shard: PlannedShard) -> str:
        return part_folder(set_id, budgets, shard.shard_id, shard.ids)
