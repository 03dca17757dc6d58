"""Commands that are killed at seeded moments, and what their stores hold in the end.

Each runs in a process forked from one that has imported torch, which writes down what it does, so that
a kill can be aimed at any step and it is known where it landed.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from forked import Forked
from stepping import DRIVER, ENDED, PHASES, STARTING, STOPPED, WORKER, Aim, phases, traced

TIMEOUT_S: Final = 120.0
_OWN: Final = ("trace", STOPPED, "forked-")  # files of ours in the folder of a command


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
    """What a kill hit, how the killed command ended, and what is wrong after it ran again."""

    name: str
    seed: int
    target: str
    phase: str = STARTING
    exit_code: int | None = None
    said: str = ""
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
        Signals to choose from; a pair is sent one after the other. Only ``SIGKILL`` is for the process
        that has reached the step, which may be a worker; the others go to the command's own.
    """

    command: Command
    folder: Path
    sent: Sequence[tuple[int, ...]] = ((signal.SIGKILL,),)
    whole: Mapping[str, str] = field(default_factory=dict)
    steps: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    def run_unbroken(self) -> None:
        """Run the command once, for what it leaves, how long it takes and which steps it has."""
        folder = self._copy("whole")
        wrong: list[str] = []
        began = time.monotonic()
        driver = self._finish(folder, wrong)
        self.seconds = time.monotonic() - began
        assert not wrong, wrong
        self.whole = self.command.contents(folder)
        of_process = Counter(phases(folder / "trace"))
        for (pid, phase), n_steps in of_process.items():
            key = (DRIVER if pid == driver else WORKER, phase)
            self.steps[key] = min(n_steps, self.steps.get(key, n_steps))

    def kill(self, seed: int, aim: Aim | None = None) -> Outcome:
        """Kill a run at a moment that depends on ``seed``, run it again, and compare.

        Without an aim the phases take turns, process by process, and any moment takes one, too. The
        first time of each is exact, later ones may hit a little after the step began.
        """
        draw = random.Random(f"{self.command.name} {seed}")
        chosen = aim if aim is not None else self._drawn(seed, draw)
        folder = self._copy(f"{self.command.name}-{seed}")
        job = self._start(folder, chosen)
        if chosen is None:
            time.sleep(draw.random() * self.seconds)
            victim = draw.choice([job.pid, *(process.pid for process in children(job.pid))])
        else:
            victim = self._stopped(job, folder / STOPPED)
        workers = children(job.pid)
        outcome = Outcome(self.command.name, seed, DRIVER if victim == job.pid else WORKER)
        numbers, reached = draw.choice(self.sent), victim
        if signal.SIGKILL not in numbers:
            outcome.target = "+".join(signal.Signals(number).name for number in numbers)
            victim = job.pid
        is_exact = aim is not None or seed <= len(self.steps)
        _send(victim, numbers, 0.0 if is_exact else draw.choice((0.0, 0.001, 0.01)), draw)
        with suppress(ProcessLookupError):
            os.kill(reached, signal.SIGCONT)
        outcome.said = _waited_for(job, outcome.wrong)
        outcome.exit_code = job.returncode
        own = [phase for pid, phase in phases(folder / "trace") if pid == victim]
        outcome.phase = own[-1] if own else STARTING
        _, outliving = psutil.wait_procs(workers, timeout=20)
        outcome.wrong += [f"process {process.pid} outlived its driver" for process in outliving]
        self._compare(folder, outcome.wrong)
        if not outcome.wrong:
            shutil.rmtree(folder)
        return outcome

    def _drawn(self, seed: int, draw: random.Random) -> Aim | None:
        turns = [*sorted(key for key in self.steps if key[1] != ENDED), None]
        turn = turns[seed % len(turns)]
        return None if turn is None else Aim(*turn, draw.randint(1, self.steps[turn]))

    def _compare(self, folder: Path, wrong: list[str]) -> None:
        self._finish(folder, wrong)
        if not wrong:
            found = self.command.contents(folder)
            differ = sorted(n for n in {*found, *self.whole} if found.get(n) != self.whole.get(n))
            wrong += [_difference(name, found, self.whole) for name in differ]

    def _copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.command.base, self.folder / name))

    def _start(self, folder: Path, aim: Aim | None) -> Forked:
        before = Path.cwd()
        os.chdir(folder)
        try:
            work = (self.command.words, str(folder / "trace"), aim)
            return Forked(traced, *work, folder=folder)
        finally:
            os.chdir(before)

    def _stopped(self, job: Forked, mark: Path) -> int:
        """Return the process that has stopped at the aim; that of the job, where none came to it."""
        deadline = time.monotonic() + TIMEOUT_S
        while job.poll() is None and time.monotonic() < deadline:
            if mark.exists() and (text := mark.read_text()):
                with suppress(psutil.NoSuchProcess):
                    if psutil.Process(int(text)).status() == psutil.STATUS_STOPPED:
                        return int(text)
            time.sleep(0.0005)
        return job.pid

    def _finish(self, folder: Path, wrong: list[str]) -> int:
        job = self._start(folder, None)
        err = _waited_for(job, wrong)
        if job.returncode not in self.command.exit_codes:
            wrong.append(f"run again, it ended with {job.returncode}: {err[-500:]}")
        return job.pid


def _waited_for(job: Forked, wrong: list[str]) -> str:
    """Wait for the end of a command, and end one that hangs; return what it said."""
    try:
        return job.communicate(timeout=TIMEOUT_S)[1]
    except subprocess.TimeoutExpired:
        wrong.append(f"process {job.pid} hung for {TIMEOUT_S:g} s")
        os.killpg(job.pid, signal.SIGKILL)
        return job.communicate(timeout=TIMEOUT_S)[1]


def _difference(name: str, found: Mapping[str, str], whole: Mapping[str, str]) -> str:
    """Say how something differs from what an unbroken run leaves, line by line."""
    is_, was = (set(of.get(name, "").splitlines()) for of in (found, whole))
    return f"{name}: {' '.join(sorted(is_ - was))} instead of {' '.join(sorted(was - is_))!r}"


def _send(victim: int, numbers: Sequence[int], delay: float, draw: random.Random) -> None:
    """Send signals to a process that may have stopped, and may go on for a while before.

    A terminal sends Ctrl-C and its own end to the workers as well.
    """
    with suppress(ProcessLookupError):
        if delay:
            os.kill(victim, signal.SIGCONT)
            time.sleep(delay)
        for number in numbers:
            send = os.killpg if number in (signal.SIGINT, signal.SIGHUP) else os.kill
            send(victim, number)
            os.kill(victim, signal.SIGCONT)
            time.sleep(draw.choice((0.0, 0.01)) if len(numbers) > 1 else 0)


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def of_store(folder: Path) -> dict[str, str]:
    """Return a hash of everything in a store but clocks, and say what ``doctor --deep`` finds.

    The names of all that lies in the folder are part of it: a killed command leaves nothing.
    """
    from curate.store import Store
    from curate.store.parts import read_parquet

    names = [str(p.relative_to(folder)) for p in folder.rglob("*") if not p.name.startswith(_OWN)]
    store = Store(folder / "curate.duckdb", create=False)
    found = {
        "names": "\n".join(sorted(names)),
        "findings": "; ".join(f.message for f in store.check(deep=True) if f.level != "ok"),
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
