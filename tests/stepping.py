"""A command that writes down each step it takes, and stops itself at the one that is aimed at."""

import functools
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

STARTING, SCORING, WRITING, COMMITTING, WORKING, ENDED = PHASES = (
    "starting", "scoring", "writing", "committing", "working", "ended",
)  # fmt: skip
DRIVER, WORKER = "driver", "worker"
STOPPED: Final = "stopped"  # the file that names the process that stopped at the aim


@dataclass(frozen=True)
class Aim:
    """A step to stop at: the ``number``-th one of a phase in one process of a role, counted from 1."""

    role: str
    phase: str
    number: int


def traced(words: Sequence[str], trace: str, aim: Aim | None) -> None:
    """Run ``curate WORDS``; append to a file what this process, or a worker of it, begins to do.

    The first process that reaches the aim writes its number to the file beside it, and stops itself.
    Workers are forked from this process, so that they do the same.
    """
    from curate.cli import main
    from curate.scoring.executors import local

    steps = _Steps(Path(trace), aim)
    _follow(steps)
    local.worker_context = lambda *_: multiprocessing.get_context("fork")  # type: ignore[assignment]
    os.environ["OMP_NUM_THREADS"] = "1"
    steps.enter(STARTING)
    sys.argv = ["curate", *words]
    try:
        main()
    finally:
        steps.enter(ENDED)


def phases(trace: Path) -> list[tuple[int, str]]:
    """Return process and phase of each line of a trace."""
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    return [(int(pid), phase.decode()) for pid, phase in (line.split() for line in lines)]


@dataclass
class _Steps:
    """What a process does now, and how often it has begun each phase."""

    trace: Path
    aim: Aim | None
    driver: int = field(default_factory=os.getpid)
    phase: str = STARTING
    counts: dict[int, Counter[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file = os.open(self.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def enter(self, phase: str) -> str:
        """Begin a phase; return the one to go back to."""
        before, self.phase, pid = self.phase, phase, os.getpid()
        os.write(self.file, f"{pid} {phase}\n".encode())
        reached = self.counts.setdefault(pid, Counter())
        reached[phase] += 1
        if self.aim == Aim(DRIVER if pid == self.driver else WORKER, phase, reached[phase]):
            self._stop()
        return WORKING if before == STARTING else before

    def within(self, owner: Any, name: str, phase: str) -> None:
        """Let a function be a phase."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def followed(*args: Any, **kwargs: Any) -> Any:
            before = self.enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self.enter(before)

        setattr(owner, name, followed)

    def _stop(self) -> None:
        try:
            descriptor = os.open(
                self.trace.with_name(STOPPED), os.O_WRONLY | os.O_CREAT | os.O_EXCL
            )
        except FileExistsError:  # another worker was first
            return
        os.write(descriptor, b"%d" % os.getpid())
        os.close(descriptor)
        os.kill(os.getpid(), signal.SIGSTOP)


def _follow(steps: _Steps) -> None:
    from curate.data.write import export, outputs, rows, spool
    from curate.scoring.executors import worker
    from curate.store import connection, parts
    from curate.store.pool import writer
    from curate.train import checkpoints

    transaction = connection.transaction

    @contextmanager
    def followed(con: Any) -> Iterator[None]:
        before = steps.enter(COMMITTING)
        with transaction(con):
            yield
        steps.enter(before)

    connection.transaction = followed
    steps.within(worker.TaskRunner, "run", SCORING)
    for owner, names in {
        parts: ("sync", "put_in_place", "write_sealed"),
        writer.PoolWriter: ("append", "_known_ids", "_move_in"),
        writer: ("cut", "sync_tree"),
        spool.Spool: ("add",),
        outputs.HashedFile: ("write", "close"),
        rows: ("_write",),
        export: ("write_manifest",),
        checkpoints.RunFolder: ("save",),
    }.items():
        for name in names:
            steps.within(owner, name, WRITING)
