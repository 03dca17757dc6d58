"""Run shard tasks on a Ray cluster: actors that load a pass once, and a loop that hands out tasks."""

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from curate.contracts.display import counted
from curate.errors import WorkerError
from curate.scoring.executors.course import n_unfinished
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.interrupts import terminate_as_interrupt
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.ray_cluster import Cluster, connected, is_lost, room, waiting_for
from curate.scoring.executors.task_queue import TaskQueue
from curate.scoring.executors.worker import (
    PassSpec,
    ShardTask,
    TaskError,
    TaskProgress,
    TaskReport,
    TaskRunner,
    attempt,
)

POLL_S: Final = 0.5
LOOK_S: Final = 10.0
PATIENCE_S: Final = 300.0  # without any worker, until it is said
ADVICE: Final = "check memory, lower --max-workers, and run the same command again"
MAX_FAILED_STARTS: Final = 3  # in a row, of workers that died before they had a task


def run_tasks(
    passes: tuple[PassSpec, ...],
    tasks: Sequence[ShardTask],
    devices: Sequence[str],
    listener: Listener,
    cluster: Cluster = Cluster(),  # noqa: B008 (frozen)
) -> None:
    """Run every task on Ray; call ``listener.on_report`` in this process for each one finished.

    One actor a device, at most, each of which has the next task by the time it finishes one. Work begins
    with the first that starts. Actors read shards and write parts themselves, on a file system that all
    nodes share; only reports come back. Deaths and errors mean what they mean in `local`, except that no
    shard is blamed for a node that was lost or preempted. ``listener.say`` also hears of those, and
    when no actor has started for `PATIENCE_S`.

    Raises
    ------
    KeyboardInterrupt
        On SIGINT, SIGTERM or SIGHUP, after ending the actors. They also end with this process.
    WorkerError
        Actors that cannot start, or that do not see the store's folder.
    """
    if not tasks:
        return
    with terminate_as_interrupt(), connected(cluster, passes), terminate_as_interrupt():
        n_hired = len(devices) if cluster.max_workers else min(len(devices), room(cluster))
        queue = TaskQueue(deque(tasks), listener.on_report, Deaths(listener.say))
        queue.share(n_hired)
        crew = _Crew(passes, cluster, queue, listener)
        crew.run(list(devices)[:n_hired])


@final
class ShardActor:
    """A worker of Ray: a `TaskRunner` in the driver's working folder."""

    def __init__(self, passes: tuple[PassSpec, ...], device: str, folder: str) -> None:
        if os.path.isdir(folder):  # as on every machine that shares it
            os.chdir(folder)
        self._runner = TaskRunner(passes, device)

    def node(self) -> str:
        """Return the id of the node it runs on."""
        import ray

        node: str = ray.get_runtime_context().get_node_id()
        return node

    def run(self, task: ShardTask) -> TaskReport | TaskError:
        """Run one task and write its parts."""
        return attempt(self._runner, task)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """A task that an actor has, and the reference to its report."""

    task: ShardTask
    answer: Any


@final
@dataclass(eq=False)
class _Worker:
    """One actor; its node, once it has started; the task it is at and the one it has beside that."""

    actor: Any
    device: str
    started: Any
    node: str | None = None
    tasks: deque[_Given] = field(default_factory=deque)

    @property
    def awaited(self) -> Any:
        """The reference to what it answers next, or None if it has nothing to do."""
        if self.node is None:
            return self.started
        return self.tasks[0].answer if self.tasks else None

    def take(self, task: ShardTask) -> None:
        self.tasks.append(_Given(task, self.actor.run.remote(task)))


@final
@dataclass
class _Crew:
    """The actors of one job; ``suspects``: shards that an actor with two tasks died at, by their keys."""

    passes: tuple[PassSpec, ...]
    cluster: Cluster
    queue: TaskQueue
    listener: Listener
    workers: list[_Worker] = field(default_factory=list)
    suspects: set[tuple[int, str]] = field(default_factory=set)
    n_failed_starts: int = 0
    n_started: int = 0  # as was told last
    looked_at: float = field(default_factory=time.monotonic)  # at what actors have kept
    seen_at: float = field(default_factory=time.monotonic)  # when a worker was last there

    def run(self, devices: Sequence[str]) -> None:
        import ray

        try:
            for device in devices:
                self._hire(device)
            while self.workers:
                self._hand_out()
                self._listen()
                self._count()
                self._speak_up()
                self._look_on()
                self.listener.on_idle()
            if self.queue.error is not None:
                raise self.queue.error
        finally:
            for worker in self.workers:
                ray.kill(worker.actor)

    def _hire(self, device: str) -> None:
        import ray

        needs = self.cluster.needs
        kind = ray.remote(
            num_cpus=needs["CPU"],
            num_gpus=needs.get("GPU", 0.0),
            max_restarts=0,
            max_task_retries=0,
        )(ShardActor)
        actor = kind.remote(self.passes, device, os.getcwd())
        self.workers.append(_Worker(actor, device, actor.node.remote()))

    def _dismiss(self, worker: _Worker) -> None:
        import ray

        ray.kill(worker.actor)
        self.workers.remove(worker)

    def _hand_out(self) -> None:
        """Give each idle worker a task, and a second one while there are more than workers."""
        waiting = self.queue.waiting
        started = [worker for worker in self.workers if worker.node is not None]
        for worker in started:
            if waiting and not worker.tasks:
                worker.take(waiting.popleft())
        for worker in started:
            if (
                len(worker.tasks) == 1
                and len(waiting) > len(started)
                and not self._runs_alone(worker.tasks[0].task)
                and not self._runs_alone(waiting[0])
            ):
                worker.take(waiting.popleft())
        if not waiting:
            for worker in [worker for worker in self.workers if not worker.tasks]:
                self._dismiss(worker)

    def _runs_alone(self, task: ShardTask) -> bool:
        """Whether a death with it must be its own: a trial, or what an actor with two tasks died of."""
        return task.is_trial or task.key in self.suspects

    def _listen(self) -> None:
        import ray

        by_ref = {worker.awaited: worker for worker in self.workers if worker.awaited is not None}
        refs = list(by_ref)
        if not refs:
            return
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        if not ready:
            ready, _ = ray.wait(refs, num_returns=1, timeout=POLL_S)
        for ref in ready:
            self._hear(by_ref[ref], ref)

    def _hear(self, worker: _Worker, ref: Any) -> None:
        import ray

        try:
            answer = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._bury(worker, error)
            return
        if worker.node is None:
            worker.node, self.n_failed_starts = answer, 0
            return
        worker.tasks.popleft()
        if isinstance(answer, TaskError):
            self._stop(answer.as_exception())
        elif answer.is_gone and answer.task.shard.exists():
            self._stop(
                WorkerError(
                    f"a worker on node {worker.node} does not see {answer.task.shard}; the folder of the "
                    "store must be on a file system that every node has at the same path"
                )
            )
        else:
            self.queue.keep(answer)

    def _stop(self, error: Exception) -> None:
        """Hand out no more tasks, and end with the first error when those under way are finished."""
        self.queue.stop(error)
        for worker in self.workers:
            while len(worker.tasks) > 1:
                worker.tasks.pop()

    def _bury(self, worker: _Worker, error: Exception) -> None:
        """Put the tasks of a dead worker before the others, and hire another in its place."""
        self._dismiss(worker)
        if self.queue.error is not None:
            return
        tasks = [given.task for given in worker.tasks]
        if _is_innocent(worker, error):
            self.listener.say(
                f"a worker was lost with its node; {counted(len(tasks), 'shard')} of it "
                f"{'is' if len(tasks) == 1 else 'are'} run again"
            )
        elif worker.node is None:
            return self._failed_start(worker, error)
        elif len(tasks) > 1:  # the report of the first may be lost while the second killed it
            self.suspects.update(task.key for task in tasks)
        elif tasks:
            if self.queue.died(tasks[0], _cause(error), ADVICE):
                self._hire(worker.device)
            return
        self.queue.again(tasks)
        self._hire(worker.device)

    def _failed_start(self, worker: _Worker, error: Exception) -> None:
        import ray

        self.n_failed_starts += 1
        is_hopeless = isinstance(error, ray.exceptions.RuntimeEnvSetupError) or getattr(
            error, "actor_init_failed", False
        )
        if is_hopeless or self.n_failed_starts >= MAX_FAILED_STARTS:
            last = str(error).strip().splitlines()[-1].strip()
            return self._stop(
                WorkerError(
                    f"workers of Ray do not start: {last}; every node needs the packages that are installed "
                    "here, in the same versions; finished shards are kept"
                )
            )
        self._hire(worker.device)

    def _count(self) -> None:
        """Tell how many workers there are, where that has changed."""
        n_started = sum(worker.node is not None for worker in self.workers)
        if n_started != self.n_started:
            self.n_started = n_started
            self.listener.on_workers(n_started)

    def _speak_up(self) -> None:
        """Say when no worker has started for long."""
        now = time.monotonic()
        if self.queue.error is not None or any(worker.node is not None for worker in self.workers):
            self.seen_at = now
        elif now - self.seen_at >= PATIENCE_S:
            self.seen_at = now
            self.listener.say(waiting_for(self.cluster, PATIENCE_S / 60))

    def _look_on(self) -> None:
        """Tell how far the shards under way are, by what their actors have kept."""
        now = time.monotonic()
        if now - self.looked_at < LOOK_S:
            return
        self.looked_at = now
        for task in (given.task for worker in self.workers for given in worker.tasks):
            if task.unfinished is not None and not task.is_trial:
                n_done = max(n_unfinished(task.unfinished).values(), default=0.0)
                self.listener.on_progress(TaskProgress(task.key, None, n_done))


def _is_innocent(worker: _Worker, error: Exception) -> bool:
    """Whether a worker died of its machine rather than of its task."""
    import ray

    unreachable = (ray.exceptions.ActorUnavailableError, ray.exceptions.NodeDiedError)
    return (
        isinstance(error, unreachable)
        or getattr(error, "preempted", False)
        or (worker.node is not None and is_lost(worker.node))
    )


def _cause(error: Exception) -> str:
    import ray

    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "ended by Ray for want of memory"
    return "killed or crashed, often by the system's out-of-memory killer"
