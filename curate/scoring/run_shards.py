"""Run the shards of some passes where the options say: on which device, with how many workers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from curate.contracts.display import counted
from curate.contracts.progress import SCORING, Progress
from curate.scoring.cards import deal, weights_of
from curate.scoring.executors import RAY, executor_for
from curate.scoring.executors.course import Stripe, n_unfinished
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.worker import ShardTask, TaskProgress, TaskReport
from curate.scoring.options import ScoringOptions
from curate.scoring.outcome import tell_once
from curate.scoring.plan import Pass
from curate.scoring.shard_log import ShardLog, n_by_set, recorded, with_retries
from curate.scoring.workload import ShardSize, most_stripes, seconds_of, workers_for


def run_shards(
    passes: Sequence[Pass],
    tasks: Sequence[ShardTask],
    options: ScoringOptions,
    progress: Progress,
    logs: Path,
    on_report: Callable[[TaskReport], None],
    on_idle: Callable[[], None],
    sizes: Mapping[str, ShardSize] | None = None,
) -> None:
    """Run every task; ``on_report`` is called here for each one finished, ``on_idle`` in between.

    ``logs`` is the folder that takes a line for each shard and the record of the run.
    ``sizes`` of the shards by id, where their files are not on this machine.
    """
    from curate.scoring.passes import WorkerPass

    tasks = with_retries(tasks, passes, options.profile)
    runs_weights = any(pass_.runs_weights for pass_ in passes)
    device = options.worker_device(runs_weights=runs_weights)
    work = [
        (pass_, [_sized(task, sizes) for task in tasks if task.pass_index == index])
        for index, pass_ in enumerate(passes)
    ]
    dealt = deal(weights_of(passes), device, options.cards_per_worker)
    dealt.check(options.asked_workers)
    workers = workers_for(work, device, options.asked_workers, dealt.n)
    devices = dealt.devices(workers.n)
    if workers.note:
        progress.note(workers.note)
    tasks = _with_stripes(tasks, passes, device, len(devices), sizes)
    devices = devices[: max(1, sum(task.most_stripes for task in tasks))]
    if over := dealt.describe(len(devices)):
        progress.note(over)
    hires = options.executor == RAY  # as many as find room
    progress.note(
        f"{counted(len(passes), 'pass', 'passes')} over "
        f"{counted(len({t.shard_id for t in tasks}), 'shard')} with "
        f"{'at most ' if hires else ''}{counted(len(devices), 'worker')} on {devices[0]}: "
        + "; ".join(pass_.describe() for pass_ in passes)
    )
    for task in (task for task in tasks if task.n_retries):
        progress.note(
            f"an earlier run was killed while it scored shard {task.shard_id}, often for want of "
            "memory; it is run again in a process of its own"
        )
    n_examples = {task.key: task.n_examples for task in tasks}
    kept = {task.key: _n_kept(task, passes[task.pass_index].set_ids) for task in tasks}
    progress.start(SCORING, sum(n_examples.values()), "examples", done=sum(kept.values()))

    log = ShardLog(logs, passes)
    told: set[str] = set()
    reached = _Reached(n_examples, progress, kept)

    def finished(report: TaskReport) -> None:
        on_report(report)
        log.write(report)
        tell_once(report.note, told, progress)
        reached.tell(TaskProgress(report.task.key, None, report.task.n_examples))

    run = executor_for(options.executor, options.cluster)
    specs = tuple(WorkerPass(pass_) for pass_ in passes)
    with recorded(logs, n_by_set(tasks), 0 if hires else len(devices)) as hired:
        listener = Listener(finished, reached.tell, on_idle, progress.note, hired)
        run(specs, tasks, devices, listener)
    progress.finish(SCORING)


@final
@dataclass
class _Reached:
    """Advances the progress of a run by what its tasks say while they are under way.

    Those that begin again, in this run or after an earlier one, begin from where they had been:
    ``told`` are the examples of each that are known to be done.
    """

    n_examples: Mapping[tuple[int, str], int]
    progress: Progress
    told: dict[tuple[int, str], int]
    whole: dict[tuple[int, str], float] = field(default_factory=dict)
    stripes: dict[tuple[int, str], dict[Stripe, float]] = field(default_factory=dict)

    def tell(self, at: TaskProgress) -> None:
        of_shard = self.stripes.setdefault(at.key, {})
        if at.stripe is None:
            self.whole[at.key] = at.n_done
        else:
            of_shard[at.stripe] = at.n_done / at.stripe.count
        reached = max(self.whole.get(at.key, 0.0), sum(of_shard.values()))
        n_done = min(int(reached), self.n_examples[at.key])
        before = self.told[at.key]
        if n_done > before:
            self.told[at.key] = n_done
            self.progress.advance(SCORING, n_done - before)


def _n_kept(task: ShardTask, set_ids: Sequence[str]) -> int:
    """Return how many examples of a shard earlier runs of a pass finished and kept, about."""
    if task.unfinished is None:
        return 0
    found = n_unfinished(task.unfinished, set_ids)
    return min(int(max(found.values(), default=0.0)), task.n_examples)


def _with_stripes(
    tasks: Sequence[ShardTask],
    passes: Sequence[Pass],
    device: str,
    n_workers: int,
    sizes: Mapping[str, ShardSize] | None,
) -> list[ShardTask]:
    """Return the tasks with how many workers each of the last is worth; others are not shared."""
    n_whole = max(0, len(tasks) - n_workers) if n_workers > 1 else len(tasks)
    last = []
    for task in tasks[n_whole:]:
        pass_ = passes[task.pass_index]
        seconds = seconds_of(pass_, _sized(task, sizes), device)
        can = task.unfinished is not None and task.carrier is None  # it removes its copies
        last.append(replace(task, most_stripes=most_stripes(pass_, seconds) if can else 1))
    return [*tasks[:n_whole], *last]


def _sized(task: ShardTask, sizes: Mapping[str, ShardSize] | None) -> Path | ShardSize:
    return task.shard if sizes is None else sizes[task.shard_id]
