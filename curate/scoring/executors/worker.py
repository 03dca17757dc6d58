"""What one worker does: load a pass once, run shards, write their parts."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Protocol, final

from curate.errors import CurateError, StoreError, WorkerError
from curate.scoring.executors.course import Course, Stripe
from curate.scoring.executors.shard_run import ShardRun
from curate.scoring.executors.tracing import traced


@final
@dataclass(frozen=True, slots=True)
class Portion:
    """What of a shard is run.

    Parameters
    ----------
    only
        Ids of the only examples to run, to see whether they kill their worker; None for all.
    omitted
        Ids of examples that do: they are recorded as failed, and the others get the scores that they
        would have if a scorer failed on these.
    renders_omitted
        Whether the omitted ones are rendered, which decides the batches of the others.
    """

    only: frozenset[str] | None = None
    omitted: frozenset[str] = frozenset()
    renders_omitted: bool = True


WHOLE: Final = Portion()
PREFIXES: Final = "prefixes"  # in the facts of a part: why what rows begin with was not shared


class Runner(Protocol):
    """A loaded pass: turns one shard file into one part per score set."""

    def ids(self, shard: Path) -> Sequence[str]:
        """Return the ids of the examples of a shard that `run` would run, reading nothing else."""

    def run(
        self,
        shard: Path,
        inputs: Mapping[str, Path] | None = None,
        portion: Portion = WHOLE,
        course: Course | None = None,
    ) -> Mapping[str, tuple[Any, Mapping[str, str]]]:
        """Return, by score set id, the part table and its metadata; ``inputs`` are parts to read.

        Nothing is returned for a stripe: what it found is in the ``course``.
        """


class PassSpec(Protocol):
    """A pass as it travels to a worker: small and picklable; `load` builds the heavy part."""

    @property
    def imports(self) -> tuple[str, ...]:
        """Modules that take long to import and that `load` needs: workers on a CPU can share them."""

    def load(self, device: str) -> Runner:
        """Load the models of this pass onto a device."""


class Carrier(Protocol):
    """Stands between a task and a place that is not on this machine; small and picklable."""

    def bring(self, task: "ShardTask") -> None:
        """Copy the shard and the inputs of a task to their paths."""

    def deliver(self, task: "ShardTask") -> int:
        """Take its parts there and remove the copies; return how many others had written before."""


@final
@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to run through one pass, and where the parts go (score set id -> path).

    ``inputs`` are the parts of this shard that a derived scorer reads, by alias. A task whose
    ``portion`` has some examples alone is a trial, which writes nothing. ``n_retries`` counts the runs
    of it that ended with their worker; whoever hands it out again raises it. ``trace`` is the file for
    a trace of the run. Without a ``carrier`` all paths are those of the store. ``unfinished`` is the
    folder for what is finished of the shard before all of it is, ``most_stripes`` how many workers it is
    worth sharing between, and a task with a ``stripe`` runs what one of them does.
    """

    pass_index: int
    shard_id: str
    shard: Path
    n_examples: int
    parts: Mapping[str, Path]
    inputs: Mapping[str, Path] = field(default_factory=dict)
    portion: Portion = WHOLE
    n_retries: int = 0
    trace: Path | None = None
    carrier: Carrier | None = None
    unfinished: Path | None = None
    most_stripes: int = 1
    stripe: Stripe | None = None

    @property
    def key(self) -> tuple[int, str]:
        """Its pass and its shard, which together no other task has."""
        return self.pass_index, self.shard_id

    @property
    def is_trial(self) -> bool:
        """Whether it only shows if some examples kill their worker."""
        return self.portion.only is not None


@final
@dataclass(frozen=True, slots=True)
class TaskReport:
    """What a worker says about a finished task: failures and tokens summed over its score sets.

    ``n_late`` parts had been written by another process meanwhile. ``is_gone``: the shard's file was
    not there, so nothing was written. ``ids``: the examples of the shard, in its order, after a trial
    of none of them. ``run`` is what its worker measured; None where it wrote nothing. ``note`` is for the user,
    the same of every shard.
    """

    task: ShardTask
    n_failed: int
    tokens: int
    wall_s: float
    n_late: int = 0
    is_gone: bool = False
    ids: Sequence[str] = ()
    run: ShardRun | None = None
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How many examples of a shard are done, about, of a task that is under way."""

    key: tuple[int, str]
    stripe: Stripe | None
    n_done: float


@final
@dataclass(frozen=True, slots=True)
class TaskError:
    """A task that ended in an error; ``error`` is shown as is if it is a `CurateError`."""

    task: ShardTask
    error: CurateError | None
    traceback: str

    def as_exception(self) -> CurateError:
        """Return what ends the job."""
        return self.error or WorkerError(
            f"shard {self.task.shard_id}: the worker failed unexpectedly; finished shards are kept\n"
            f"{self.traceback}"
        )


@final
@dataclass
class TaskRunner:
    """Runs tasks in this process, keeping the pass of the last task loaded.

    ``tell`` hears how far a task is, between batches; what it raises ends the task.
    """

    passes: tuple[PassSpec, ...]
    device: str
    tell: Callable[[TaskProgress], None] | None = None
    _loaded: tuple[int, Runner] | None = field(default=None, init=False)

    def run(self, task: ShardTask) -> TaskReport:
        """Run one task and write its parts atomically; a part that fails to write leaves nothing."""
        from curate.store.parts import RUN, write_part_once

        if self._loaded is None or self._loaded[0] != task.pass_index:
            self._loaded = None  # release the previous model before loading the next
            self._loaded = (task.pass_index, self.passes[task.pass_index].load(self.device))
            limit_threads()
        if task.carrier is not None:
            task.carrier.bring(task)
        began = time.perf_counter()
        try:
            if task.portion.only == frozenset():  # whether loading the pass is what kills
                return TaskReport(task, 0, 0, 0.0, ids=tuple(self._loaded[1].ids(task.shard)))
            outputs = self._run(self._loaded[1], task, course := self._course(task))
        except (FileNotFoundError, StoreError):
            if task.shard.exists():
                raise
            return TaskReport(task, 0, 0, 0.0, is_gone=True)
        wall_s = time.perf_counter() - began
        n_failed = tokens = n_late = 0
        if task.is_trial or task.stripe is not None:
            return TaskReport(task, n_failed, tokens, wall_s)
        facts = next((metadata for _, metadata in outputs.values()), {})
        run = ShardRun.of(facts, wall_s, task.n_retries, self.device)
        for set_id, path in task.parts.items():
            table, metadata = outputs[set_id]
            n_late += not write_part_once(path, table, {**metadata, RUN: run.as_dict()})
            n_failed += table.num_rows - table.column("failure").null_count
            tokens += int(metadata.get("tokens", 0))
        if task.carrier is not None:
            n_late = task.carrier.deliver(task)
        course.discard()
        note = str(facts.get(PREFIXES, ""))
        return TaskReport(task, n_failed, tokens, wall_s, n_late, run=run, note=note)

    def _course(self, task: ShardTask) -> Course:
        if task.is_trial:
            return Course()
        tell = self.tell
        return Course(
            task.unfinished,
            task.stripe,
            None if tell is None else lambda n: tell(TaskProgress(task.key, task.stripe, n)),
        )

    def _run(
        self, runner: Runner, task: ShardTask, course: Course
    ) -> Mapping[str, tuple[Any, Mapping[str, str]]]:
        with traced(None if task.is_trial else task.trace, self.device):
            try:
                outputs = runner.run(task.shard, task.inputs, task.portion, course)
            except BaseException:
                course.stopped()
                raise
        if task.stripe is not None:
            course.save()
        return outputs


def attempt(runner: TaskRunner, task: ShardTask) -> TaskReport | TaskError:
    """Run one task; an error becomes an answer, which is raised where it arrives."""
    try:
        return runner.run(task)
    except CurateError as error:
        return TaskError(task, error, "")
    except Exception:  # noqa: BLE001 - crosses the process boundary and is raised again there
        return TaskError(task, None, traceback.format_exc())


def limit_threads() -> None:
    """Use one compute thread per process, so that scores do not depend on how many workers run."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


def work(
    connection: Connection,
    passes: tuple[PassSpec, ...],
    device: str,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run tasks from a connection until it closes: the main function of a worker process.

    ``environment`` replaces that of a worker whose own is older than the job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the parent's, where it forked
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
    runner = TaskRunner(passes, device, connection.send)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        if task is None:
            return
        connection.send(attempt(runner, task))


def _exit_with_parent() -> None:
    """End this process when the one that started it has died, however it died."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by multiprocessing"
    parent.join()
    os._exit(1)
