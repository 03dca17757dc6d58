"""Commands that are killed at seeded moments, and what their stores hold in the end.

Each runs in a process forked from one that has imported torch, which writes down what it does, so that
a kill can be aimed at any step and it is known where it landed.
"""

import functools
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from forked import Forked

STARTING, SCORING, WRITING, COMMITTING, WORKING, ENDED = PHASES = (
    "starting", "scoring", "writing", "committing", "working", "ended",
)  # fmt: skip
RECORD: Final = 32  # bytes of a line of the trace
TIMEOUT_S: Final = 120.0


def traced(words: Sequence[str], trace: str) -> None:
    """Run ``curate WORDS``; append to a file what this process, or a worker of it, begins to do.

    Workers are forked from this process, so that they do the same.
    """
    from curate.cli import main
    from curate.scoring.executors import local, worker
    from curate.store import connection, parts
    from curate.train import checkpoints

    descriptor = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    at = STARTING

    def enter(phase: str) -> str:
        nonlocal at
        before, at = at, phase
        os.write(descriptor, f"{os.getpid():>12} {phase}".ljust(RECORD - 1).encode() + b"\n")
        return WORKING if before == STARTING else before

    def within(module: Any, name: str, phase: str) -> None:
        function = getattr(module, name)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before = enter(phase)
            try:
                return function(*args, **kwargs)
            finally:
                enter(before)

        setattr(module, name, wrapped)

    transaction = connection.transaction

    @contextmanager
    def traced_transaction(con: Any) -> Iterator[None]:
        before = enter(COMMITTING)
        with transaction(con):
            yield
        enter(before)

    connection.transaction = traced_transaction
    within(worker.TaskRunner, "run", SCORING)
    for name in ("sync", "_put_in_place", "write_sealed"):
        within(parts, name, WRITING)
    within(checkpoints.RunFolder, "save", WRITING)
    local.worker_context = lambda *_: multiprocessing.get_context("fork")  # type: ignore[assignment]
    os.environ["OMP_NUM_THREADS"] = "1"
    enter(STARTING)
    sys.argv = ["curate", *words]
    try:
        main()
    finally:
        enter(ENDED)


def phases(trace: Path) -> list[tuple[int, str]]:
    """Return process and phase of each line of a trace."""
    lines = trace.read_bytes().splitlines() if trace.exists() else []
    return [(int(pid), phase.decode()) for pid, phase in (line.split() for line in lines)]


@dataclass(frozen=True)
class Command:
    """A command to kill: its words, the folder that it starts in, and what is looked at in the end.

    ``words`` are relative to that folder, a copy of ``base`` each time. ``contents`` returns a hash by
    name, equal wherever the command has ended, however often it had been killed.
    """

    name: str
    base: Path
    words: tuple[str, ...]
    contents: Callable[[Path], Mapping[str, str]]
    exit_codes: frozenset[int] = frozenset({0})


@dataclass
class Outcome:
    """What a kill hit, and what is wrong after the same command ran again."""

    name: str
    seed: int
    target: str
    phase: str
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.name:<14} seed {self.seed:>4}  {self.target:<6} {self.phase:<10} " + (
            "; ".join(self.wrong) or "held"
        )


@dataclass
class Killer:
    """Kills a command at random moments, each time in a copy of its folder.

    Parameters
    ----------
    command
        What is killed.
    folder
        For the copies, which are removed where all is well.
    sent
        Signals to choose from; a pair is sent one after the other.
    """

    command: Command
    folder: Path
    sent: Sequence[tuple[int, ...]] = ((signal.SIGKILL,),)
    whole: Mapping[str, str] = field(default_factory=dict)
    steps: dict[str, list[int]] = field(default_factory=dict)

    def run_unbroken(self) -> None:
        """Run the command once, for what it leaves and how many steps it writes down."""
        folder = self._copy("whole")
        wrong: list[str] = []
        self._finish(folder, wrong)
        assert not wrong, wrong
        self.whole = self.command.contents(folder)
        for number, (_, phase) in enumerate(phases(folder / "trace"), start=1):
            self.steps.setdefault(phase, []).append(number)

    def kill(self, seed: int) -> Outcome:
        """Kill a run at a moment that depends on ``seed``, run it again, and compare."""
        draw = random.Random(f"{self.command.name} {seed}")
        folder = self._copy(f"{self.command.name}-{seed}")
        job = self._start(folder)
        self._wait(job, folder / "trace", draw.choice(self.steps[draw.choice(sorted(self.steps))]))
        time.sleep(draw.choice((0.0, 0.001, 0.005, 0.02)))
        workers = _children(job.pid)
        aims_at_worker = bool(workers) and draw.random() < 0.5
        victim = draw.choice(workers).pid if aims_at_worker else job.pid
        numbers = (signal.SIGKILL,) if aims_at_worker else draw.choice(self.sent)
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(victim, number)
            time.sleep(draw.choice((0.0, 0.01)) if len(numbers) > 1 else 0)
        outcome = Outcome(self.command.name, seed, "worker" if aims_at_worker else "driver", "")
        job.communicate(timeout=TIMEOUT_S)
        own = [phase for pid, phase in phases(folder / "trace") if pid == victim]
        outcome.phase = own[-1] if own else STARTING
        if signal.SIGKILL not in numbers:
            outcome.target = "+".join(signal.Signals(number).name for number in numbers)
        _, outliving = psutil.wait_procs(workers, timeout=20)
        outcome.wrong += [f"process {process.pid} outlived its driver" for process in outliving]
        self._finish(folder, outcome.wrong)
        if not outcome.wrong:
            found = self.command.contents(folder)
            differ = sorted(n for n in {*found, *self.whole} if found.get(n) != self.whole.get(n))
            outcome.wrong += [f"{name} differs" for name in differ]
        if not outcome.wrong:
            shutil.rmtree(folder)
        return outcome

    def _copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.command.base, self.folder / name))

    def _start(self, folder: Path) -> Forked:
        before = Path.cwd()
        os.chdir(folder)
        try:
            return Forked(traced, self.command.words, str(folder / "trace"), folder=folder)
        finally:
            os.chdir(before)

    def _wait(self, job: Forked, trace: Path, n_steps: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while job.poll() is None and time.monotonic() < deadline:
            if trace.exists() and trace.stat().st_size >= n_steps * RECORD:
                return
            time.sleep(0.0005)

    def _finish(self, folder: Path, wrong: list[str]) -> None:
        job = self._start(folder)
        err = job.communicate(timeout=TIMEOUT_S)[1]
        if job.returncode not in self.command.exit_codes:
            wrong.append(f"run again, it ended with {job.returncode}: {err[-500:]}")


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def of_store(folder: Path) -> dict[str, str]:
    """Return a hash of everything in a store but clocks, and say what ``doctor --deep`` finds.

    What a killed process left half written is removed first, as by ``curate gc``.
    """
    from curate.store import Store
    from curate.store.parts import read_parquet

    store = Store(folder / "curate.duckdb", create=False)
    store.gc()
    found = {
        "findings": "; ".join(f.message for f in store.check(deep=True) if f.level != "ok"),
        "temporary": " ".join(path.name for path in store.parts.rglob(".*.tmp-*")),
        "pool": store.pool_hash(),
        "sets": json.dumps(
            [[s.set_id, s.alias, s.n_examples, s.n_failed, s.content_hash, s.complete]
             for s in store.score_sets()]
        ),
    }  # fmt: skip
    for relation in ("examples", "rows", "scores", "failures", "selection_rows"):
        rows = store.read(f"select * from {relation} order by all").to_pylist()
        found[relation] = _digest(json.dumps(rows, default=str).encode())
    for path in sorted(store.parts.rglob("*.parquet")):
        below = path.relative_to(store.parts)
        if below.parts[0] == "scores":
            found[str(below)] = _digest(str(read_parquet(path).to_pydict()).encode())
        elif below.parts[0] not in ("cache", "jobs", "runs"):
            found[str(below)] = _digest(path.read_bytes())
    return found


def of_files(*names: str) -> Callable[[Path], Mapping[str, str]]:
    """Return a function that hashes files below a folder, by glob, beside what a store there holds."""

    def contents(folder: Path) -> Mapping[str, str]:
        found = of_store(folder) if (folder / "curate.duckdb").exists() else {}
        paths = sorted(path for name in names for path in folder.glob(name))
        return found | {str(p.relative_to(folder)): _digest(p.read_bytes()) for p in paths}

    return contents


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def table(outcomes: Sequence[Outcome]) -> str:
    """Return how many kills landed in each phase, by command and by what was killed."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for outcome in outcomes:
        of_one = counts.setdefault((outcome.name, outcome.target), dict.fromkeys(PHASES, 0))
        of_one[outcome.phase] += 1
    lines = [f"{'command':<14} {'killed':<18}" + "".join(f"{phase:>12}" for phase in PHASES)]
    for (name, target), of_one in sorted(counts.items()):
        numbers = "".join(f"{of_one[phase]:>12}" for phase in PHASES)
        lines.append(f"{name:<14} {target:<18}{numbers}")
    held = sum(not outcome.wrong for outcome in outcomes)
    return "\n".join([*lines, f"{held} of {len(outcomes)} held"])


def say(text: str) -> None:
    """Print some lines at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
