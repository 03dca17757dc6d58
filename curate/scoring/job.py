"""`curate score`: plan the passes, run the missing shards, commit their parts, report."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import PoolScorer, Role, RunScorer
from curate.contracts.progress import Progress
from curate.errors import ConfigError, InterruptedRunError, MissingColumnError, StoreError
from curate.scoring.auto_dtype import tell_dtypes
from curate.scoring.backends import refuse_recorded
from curate.scoring.chat_check import check_chat
from curate.scoring.executors.course import n_kept
from curate.scoring.executors.cut_off import forget_finished
from curate.scoring.executors.worker import ShardTask, TaskReport
from curate.scoring.ledger import Ledger
from curate.scoring.options import ScoringOptions, TimeIsUpError
from curate.scoring.outcome import ScoredSet, ScoreReport, inspect, refuse_lost
from curate.scoring.plan import plan_passes
from curate.scoring.recorded.record import record
from curate.scoring.requests import (
    ScoreRequest,
    in_waves,
    make_request,
    missing_model,
    run_scorer,
    with_inputs,
)
from curate.scoring.run_shards import run_shards
from curate.scoring.scope import needs_the_pool, only_within
from curate.scoring.shard_log import recorded, remove_ended
from curate.scoring.sizing import with_batch_sizes
from curate.scoring.slices import FolderRecords, Slice, SliceRecord, SliceReport
from curate.store.parts import UNFINISHED

if TYPE_CHECKING:
    from curate.store import ScoreSet, Shard, Store

COMMIT_INTERVAL_S: Final = 2.0
HELD_INTERVAL_S: Final = 15.0  # between tries while another process holds the store's file
SHORT_WAIT_S: Final = 0.2  # for that process, with workers waiting for their next shard
ROUNDS: Final = 2  # of each wave: the second scores what turns out to be damaged
LONG_WAIT_S: Final = 3600.0  # where nothing can go on without the file


def with_recorded(
    store: "Store",
    report: ScoreReport,
    runs: Mapping[str, RunScorer],
    options: ScoringOptions,
    progress: Progress,
    role: Role | None = None,
) -> ScoreReport:
    """Record what some scorers measure while their model is trained; add it to a report.

    Raises `MissingColumnError` for a scorer without a model for its role.
    """
    sets = list(report.sets)
    for alias, scorer in runs.items():
        made = record(store, scorer, alias, role, options, progress)
        if made is None:
            raise MissingColumnError(missing_model(scorer.name, options))
        n_reused = made.status.n_examples - made.n_recorded
        sets.append(ScoredSet(alias, made.status, made.n_recorded, n_reused))
    tolerated = {s.status.set_id: options.tolerated(s.status.n_examples) for s in sets}
    return ScoreReport(tuple(sets), tolerated, report.wall_s)


def score_one(
    store: "Store",
    scorer: str,
    config: Mapping[str, Any],
    role: Role | None,
    options: ScoringOptions,
    progress: Progress,
    within: str | None = None,
) -> ScoreReport:
    """Make sure one score set exists and is complete; return it first, then what it reads.

    ``within`` is the id of a selection: only its examples are scored, into a partial set.
    """
    in_training = run_scorer(scorer, config)
    if in_training is not None:
        refuse_recorded(scorer, options.backend)
        if within is not None:
            raise ConfigError(needs_the_pool(scorer, within))
        nothing = ScoreReport((), {}, 0.0)
        return with_recorded(store, nothing, {scorer: in_training}, options, progress, role)
    request = make_request(store, scorer, scorer, config, role, options)
    if request is None:
        raise MissingColumnError(missing_model(scorer, options, config))
    if within is not None:
        [request] = only_within(store, [request], within)
    report = score(store, [request], options, progress)
    report.raise_for_failures()
    return report


def score(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    progress: Progress,
) -> ScoreReport:
    """Score every example of the pool that has no score yet, and commit what finishes.

    Forward scorers of the same model, dtype and template share one pass. What derived scorers read
    is computed first, and reported after what was asked for. After an interrupt or kill, the same call
    resumes with the unfinished shards.

    While another process holds the store's file, scoring goes on and what is finished is committed
    later; if it is still held at the end, `StoreError` says so, and the same call only commits.

    Raises `InterruptedRunError` on Ctrl-C, SIGTERM, SIGHUP or when ``max_hours`` is over.
    """
    began = time.perf_counter()
    requests = _prepared(store, requests, options, progress)
    job = _run(store, requests, options, progress, began)
    try:
        with store.held():
            job.commit()
            job.ledger.refuse_damage(job.ledger.sets)
            sets = tuple(job.outcome(request) for request in requests)
    except StoreError as error:
        if not error.is_held:
            raise
        raise StoreError(
            f"everything is scored and kept in {store.parts}, but not yet in the store: {error}; "
            "nothing is scored twice"
        ) from error
    for scored in sets:
        for warning in scored.warnings():
            progress.note(f"warning: {warning}")
    tolerated = {s.status.set_id: options.tolerated(s.status.n_examples) for s in sets}
    return ScoreReport(sets, tolerated, time.perf_counter() - began)


def score_slice(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    progress: Progress,
    slice_: Slice,
) -> SliceReport:
    """Score the shards of one slice as `score` does, and leave the parts for `curate commit`.

    The store's file is opened at the beginning alone. Raises `ConfigError` for a scorer that sees the
    whole pool, and `InterruptedRunError` as `score` does.
    """
    began = time.perf_counter()
    requests = _prepared(store, requests, options, progress)
    for request in requests:
        if isinstance(request.scorer, PoolScorer):
            raise ConfigError(
                f"scorer {request.scorer.name!r} sees the whole pool at once, which no slice does; run it "
                "without --slice, after curate commit"
            )
    job = _run(store, requests, options, progress, began, slice_)
    assert job.record is not None
    job.record.end(job.n_written, job.n_late)
    n_found = len(job.ledger.sets) * len(job.scope) - job.n_written - job.n_late
    return SliceReport(
        slice_, len(job.scope), n_found, job.n_written, job.n_late, time.perf_counter() - began
    )


def _prepared(
    store: "Store", requests: Sequence[ScoreRequest], options: ScoringOptions, progress: Progress
) -> list[ScoreRequest]:
    """Return the requests with what they read, sized for the card; say which dtypes were chosen."""
    prepared = with_batch_sizes(store, with_inputs(requests), options, progress)
    tell_dtypes(prepared, progress)
    return prepared


def _run(
    store: "Store",
    requests: Sequence[ScoreRequest],
    options: ScoringOptions,
    progress: Progress,
    began: float,
    slice_: Slice | None = None,
) -> "_Job":
    with store.held():
        job = _Job.prepare(store, requests, options, slice_)
    try:
        with store.waiting(LONG_WAIT_S):
            job.run(progress, began)
        job.forget_killed_runs()
    except KeyboardInterrupt:
        raise InterruptedRunError(job.stopped("interrupted")) from None
    except TimeIsUpError:
        raise InterruptedRunError(job.stopped(f"stopped after {options.max_hours} h")) from None
    return job


@final
@dataclass
class _Job:
    """The state of one scoring run; ``ledger`` has what is missing and what is not yet committed.

    ``scope`` is what it may score: all shards, or those of a slice, which commits nothing.
    """

    store: "Store"
    options: ScoringOptions
    requests: Sequence[ScoreRequest]
    ledger: Ledger
    scope: Sequence["Shard"]
    record: SliceRecord | None = None
    n_written: int = 0
    n_late: int = 0
    next_commit: float = 0.0
    is_told: bool = False

    @classmethod
    def prepare(
        cls,
        store: "Store",
        requests: Sequence[ScoreRequest],
        options: ScoringOptions,
        slice_: Slice | None,
    ) -> "_Job":
        shards = store.shards()
        if not shards:
            raise ConfigError("the pool is empty; ingest some examples first: curate ingest DATA")
        scope = shards if slice_ is None else slice_.shards(shards)
        job = cls(store, options, requests, Ledger(store, shards), scope)
        for request in requests:
            made = store.score_set(request.key, request.alias, request.run_parameters())
            job.ledger.add(made, scope)
        if slice_ is not None:
            sets = {set_id: made.alias for set_id, made in job.ledger.sets.items()}
            job.record = SliceRecord.begin(
                FolderRecords(store.parts), slice_, sets, [shard.shard_id for shard in scope]
            )
        return job

    def run(self, progress: Progress, began: float) -> None:
        self.commit_if_free(progress)
        for wave in in_waves([r for r in self.requests if not isinstance(r.scorer, PoolScorer)]):
            for _ in range(ROUNDS):
                self._run_shards(wave, progress, began)
                self.commit_if_free(progress)  # the next wave reads no forgotten examples then
        for request in self.requests:
            if isinstance(request.scorer, PoolScorer):
                self._run_pool_scorer(request, progress)

    def _run_shards(self, rows: Sequence[ScoreRequest], progress: Progress, began: float) -> None:
        runs = {set_id: made.run for set_id, made in self.ledger.sets.items()}
        passes = plan_passes([r for r in rows if self.ledger.left[r.key.set_id]], runs)
        tasks = [
            task for index, pass_ in enumerate(passes) for task in self._tasks(index, pass_.set_ids)
        ]
        if not tasks:
            return
        paths = {shard.shard_id: shard.path for shard in self.ledger.shards}
        check_chat(passes, [paths[i] for i in sorted({t.shard_id for t in tasks})], progress)

        def finished(report: TaskReport) -> None:
            if report.is_gone:
                refuse_lost(self.store, report.task.shard_id, report.task.shard)
            note = self.ledger.lost if report.is_gone else self.ledger.wrote
            for set_id in report.task.parts:
                note(set_id, report.task.shard_id)
            if not report.is_gone:
                self.n_written += len(report.task.parts) - report.n_late
                self.n_late += report.n_late

        def idle() -> None:
            if time.perf_counter() > self.next_commit:
                self.commit_if_free(progress)
            self.options.stop_in_time(began)

        run_shards(passes, tasks, self.options, progress, self.store.parts, finished, idle)

    def _tasks(self, index: int, set_ids: Sequence[str]) -> list[ShardTask]:
        left = self.ledger.left
        read = self._inputs(set_ids)
        request = next(r for r in self.requests if r.key.set_id == set_ids[0])
        tasks = []
        for shard in self.ledger.shards:
            parts = {
                set_id: self.ledger.sets[set_id].part(shard.shard_id)
                for set_id in set_ids
                if shard.shard_id in left[set_id]
            }
            if parts:
                inputs = {alias: made.part(shard.shard_id) for alias, made in read.items()}
                n = _n(request, [shard])
                unfinished = self.store.parts / UNFINISHED / shard.shard_id
                task = ShardTask(index, shard.shard_id, shard.path, n, parts, inputs)
                tasks.append(replace(task, unfinished=unfinished))
        return tasks

    def _inputs(self, set_ids: Sequence[str]) -> dict[str, "ScoreSet"]:
        """Return the score sets that derived scorers of a pass read, by alias."""
        read = {a: i for s in set_ids for a, i in self.ledger.sets[s].key.inputs.items()}
        stored = {alias: self.store.find_score_set(set_id) for alias, set_id in read.items()}
        return {alias: made for alias, made in stored.items() if made is not None}

    def _run_pool_scorer(self, request: ScoreRequest, progress: Progress) -> None:
        from curate.scoring.pooled import run_pool_scorer

        made = self.ledger.sets[request.key.set_id]
        missing = self.ledger.to_score(made.set_id)
        if not missing:
            return
        assert isinstance(request.scorer, PoolScorer)
        if request.inputs:
            self.commit()  # what it reads, which was just computed
            self.ledger.refuse_damage(request.key.inputs.values())
        progress.note(f"{request.alias}: one run over the whole pool")
        inputs = {a: i for a, i in request.key.inputs.items() if a in request.scorer.requires()}
        n_examples = sum(shard.n_examples for shard in missing)
        with recorded(self.store.parts, {made.set_id: n_examples}, 1):
            run_pool_scorer(self.store, request.scorer, inputs, made, missing, self.options.device)
        for shard in missing:
            self.ledger.wrote(made.set_id, shard.shard_id)

    def commit(self) -> None:
        """Commit every finished part, but those of a slice; safe to repeat."""
        if self.record is not None:
            return
        self.ledger.commit()
        self.next_commit = time.perf_counter() + COMMIT_INTERVAL_S

    def commit_if_free(self, progress: Progress) -> None:
        """Commit every finished part, or later if another process holds the store's file."""
        try:
            with self.store.waiting(SHORT_WAIT_S):
                self.commit()
            for text in self.ledger.said():
                progress.note(text)
        except StoreError as error:
            if not error.is_held:
                raise
            self.next_commit = time.perf_counter() + HELD_INTERVAL_S
            if not self.is_told:
                progress.note(
                    f"{str(error).partition(' and was not released')[0]}; scoring goes on, and what "
                    "is finished is committed once it is released"
                )
            self.is_told = True

    def forget_killed_runs(self) -> None:
        """Remove what says which runs of these sets were killed, and where: all is finished."""
        remove_ended(self.store.parts, self.ledger.sets)
        for made in self.ledger.sets.values():
            forget_finished(made.folder)

    def stopped(self, why: str) -> str:
        """Commit what is finished; say what is saved, wherever it is, and how to resume."""
        try:
            self.commit()
            return self.saved(why)
        except StoreError as error:
            if not error.is_held:
                raise
            return f"{why}: every finished shard is kept in {self.store.parts}; {error}"

    def saved(self, why: str) -> str:
        """Say what is saved, within shards too, and how to resume."""
        sets = self.ledger.sets
        pending = {i: self.store.pending_shards(made, self.scope)[0] for i, made in sets.items()}
        total = len(sets) * len(self.scope)
        saved = total - sum(map(len, pending.values()))
        whose = "" if self.record is None else f" of slice {self.record.slice}"
        kept = max(n_kept(self.store.parts, pending).values(), default=0)
        others = f", and about {kept:,} examples of others" if kept else ""
        return (
            f"{why}: {saved} of {total} shards{whose} are saved{others}; rerun the same command to "
            "resume"
        )

    def outcome(self, request: ScoreRequest) -> ScoredSet:
        """Finish one score set and report its cost."""
        made = self.ledger.sets[request.key.set_id]
        n_scored = _n(request, self.ledger.missing[made.set_id])
        status = self.store.finish(made)
        n_reused = _n(request, self.scope) - n_scored
        return ScoredSet(request.alias, status, n_scored, n_reused, *inspect(self.store, status))


def _n(request: ScoreRequest, shards: Sequence["Shard"]) -> int:
    """Return how many examples of some shards a request covers."""
    scope = request.scope
    return sum(shard.n_examples if scope is None else scope.n_of(shard) for shard in shards)
