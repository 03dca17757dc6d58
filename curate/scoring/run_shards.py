"""Run the shards of some passes where the options say: on which device, with how many workers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from curate.contracts.display import counted
from curate.contracts.progress import SCORING, Progress
from curate.scoring.executors import executor_for
from curate.scoring.executors.local import devices_for
from curate.scoring.executors.worker import ShardTask, TaskReport
from curate.scoring.options import ScoringOptions
from curate.scoring.outcome import tell_once
from curate.scoring.plan import Pass
from curate.scoring.shard_log import ShardLog, recorded, with_retries
from curate.scoring.workload import ShardSize, workers_for


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
    workers = workers_for(work, device, options.asked_workers)
    devices = devices_for(device, workers.n)
    if workers.note:
        progress.note(workers.note)
    progress.note(
        f"{counted(len(passes), 'pass', 'passes')} over "
        f"{counted(len({t.shard_id for t in tasks}), 'shard')} with "
        f"{counted(len(devices), 'worker')} on {devices[0]}: "
        + "; ".join(pass_.describe() for pass_ in passes)
    )
    for task in (task for task in tasks if task.n_retries):
        progress.note(
            f"an earlier run was killed while it scored shard {task.shard_id}, often for want of "
            "memory; it is run again in a process of its own"
        )
    progress.start(SCORING, sum(task.n_examples for task in tasks), "examples")

    log = ShardLog(logs, passes)
    told: set[str] = set()

    def finished(report: TaskReport) -> None:
        on_report(report)
        log.write(report)
        tell_once(report.note, told, progress)
        progress.advance(SCORING, report.task.n_examples)

    run = executor_for(options.executor, options.cluster)
    specs = tuple(WorkerPass(pass_) for pass_ in passes)
    with recorded(logs, tasks, len(devices)):
        run(specs, tasks, devices, finished, on_idle, progress.note)
    progress.finish(SCORING)


def _sized(task: ShardTask, sizes: Mapping[str, ShardSize] | None) -> Path | ShardSize:
    return task.shard if sizes is None else sizes[task.shard_id]
