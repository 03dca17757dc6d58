"""Run shard tasks on this machine: in this process, or in worker processes that may die."""

import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final, final

from curate.scoring.executors.cut_off import under_way, was_cut_off
from curate.scoring.executors.deaths import Deaths
from curate.scoring.executors.forking import environment_for, worker_context
from curate.scoring.executors.interrupts import (
    interrupts_held,
    terminate_as_interrupt,
    without_main,
)
from curate.scoring.executors.listener import Listener
from curate.scoring.executors.task_queue import TaskQueue
from curate.scoring.executors.worker import (
    PassSpec,
    ShardTask,
    TaskError,
    TaskProgress,
    TaskRunner,
    work,
)

POLL_S: Final = 0.5
END_S: Final = 30.0  # for a worker to end that has nothing more to do
_MAIN_BY_NAME: Final = b"\x8c\x08__main__"  # a reference to the module __main__ in a pickle


def devices_for(device: str, workers: int) -> list[str]:
    """Return the device of each worker to start; on several GPUs they are dealt round-robin."""
    if device == "cuda":
        import torch

        gpus = torch.cuda.device_count()
        return [f"cuda:{index % gpus}" for index in range(workers)]
    return [device] * workers


def n_devices(device: str) -> int:
    """Return how many workers a device is meant for: one per GPU asked for, or one per CPU core."""
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    return 1 if device.startswith("cuda:") else _cpu_count()  # a second would share its memory


def run_tasks(
    passes: tuple[PassSpec, ...],
    tasks: Sequence[ShardTask],
    devices: Sequence[str],
    listener: Listener,
) -> None:
    """Run every task; call ``listener.on_report`` in this process for each one finished.

    One device runs in this process, several in worker processes that each load a pass once. A
    shard during which an earlier run died silently, as by the system's out-of-memory killer, is run
    in a worker process, so that this one survives to name the shard.
    A worker that dies is replaced and its shard run again. In a shard that kills two workers the
    examples are found that do, and recorded as failed, see `Deaths`; if there are none the job ends
    with `WorkerError`, once the other workers have finished the shards they are at, as it does after
    an error in a shard. Where shards do not suffice for all workers, they share some: see `TaskQueue`.
    Raises `KeyboardInterrupt` on SIGINT, SIGTERM or SIGHUP after ending the workers; reported tasks
    are finished for good.
    """
    with terminate_as_interrupt():
        if len(devices) == 1 and not any(map(was_cut_off, tasks)):
            _run_here(passes, tasks, devices[0], listener)
        elif tasks:
            queue = TaskQueue(deque(tasks), listener.on_report, Deaths(listener.say))
            queue.share(len(devices))
            _Team(passes, queue, listener).run(devices)


def _run_here(
    passes: tuple[PassSpec, ...],
    tasks: Sequence[ShardTask],
    device: str,
    listener: Listener,
) -> None:
    def tell(progress: TaskProgress) -> None:
        listener.on_progress(progress)
        listener.on_idle()

    with _threads_restored():
        runner = TaskRunner(passes, device, tell)
        for task in tasks:
            with under_way(task):
                report = runner.run(task)
            listener.on_report(report)
            listener.on_idle()


@final
@dataclass
class _Worker:
    """One worker process, its pipe and its current task."""

    process: BaseProcess
    connection: Connection
    device: str
    task: ShardTask | None = None


@final
@dataclass
class _Team:
    """The workers of one job."""

    passes: tuple[PassSpec, ...]
    queue: TaskQueue
    listener: Listener
    workers: list[_Worker] = field(default_factory=list)
    needs_main: bool = False

    def __post_init__(self) -> None:
        self.needs_main = _MAIN_BY_NAME in pickle.dumps(self.passes, 4)

    def run(self, devices: Sequence[str]) -> None:
        try:
            for device in devices:
                self._spawn(device)
            while self.workers:
                self._listen()
                self.listener.on_idle()
            if self.queue.error is not None:
                raise self.queue.error
        finally:
            for worker in self.workers:
                worker.process.kill()
            for worker in self.workers:
                worker.process.join()
                worker.connection.close()

    def _spawn(self, device: str) -> None:
        imports = dict.fromkeys(name for each in self.passes for name in each.imports)
        context = worker_context(list(imports), device)
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self.passes, device, environment_for(context)), daemon=True
        )
        worker = _Worker(process, ours, device)
        # a worker is either not started or in the list that is ended
        with interrupts_held(), without_main(self.needs_main):
            process.start()
            self.workers.append(worker)
        theirs.close()
        self._assign(worker)

    def _assign(self, worker: _Worker) -> None:
        worker.task = self.queue.waiting.popleft() if self.queue.waiting else None
        try:
            worker.connection.send(worker.task)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died; `_listen` sees the closed pipe and hands its task on
        if worker.task is None:
            _end(worker.process)
            self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        worker.connection.close()
        self.workers.remove(worker)

    def _listen(self) -> None:
        by_connection = {worker.connection: worker for worker in self.workers}
        for ready in wait(list(by_connection), timeout=POLL_S):
            assert isinstance(ready, Connection)
            worker = by_connection[ready]
            try:
                message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                self._reap(worker)
                continue
            if isinstance(message, TaskProgress):
                self.listener.on_progress(message)
                continue
            if isinstance(message, TaskError):
                self.queue.stop(message.as_exception())
            else:
                self.queue.keep(message)
            self._assign(worker)

    def _reap(self, worker: _Worker) -> None:
        worker.process.join()
        self._dismiss(worker)
        task = worker.task
        if task is None or self.queue.error is not None:
            return
        code = worker.process.exitcode
        if self.queue.died(task, _cause(code), self._advice(code)):
            self._spawn(worker.device)

    def _advice(self, exitcode: int | None) -> str:
        if self.needs_main and exitcode == 1:  # Python's own end: no signal ended it
            return (
                "a scorer is defined in the script itself, which each worker therefore runs again: put "
                "what starts the work under if __name__ == '__main__':, or the scorer into a module"
            )
        return "check memory, lower --workers, and run the same command again"


def _end(process: BaseProcess) -> None:
    """Wait for the end of a worker that has reported everything; end one that hangs, as engines may."""
    process.join(END_S)
    if process.is_alive():
        process.kill()
        process.join()


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"{name}, often the system's out-of-memory killer" if name == "SIGKILL" else name
    return f"exit code {exitcode}"


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Restore this process's compute threads after it has worked with one."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    try:
        yield
    finally:
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(before or _cpu_count())
