"""A process that reads one input after the other, watched: its time, its memory, its end."""

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, final

from curate.errors import CurateError
from jobs.fuzz.family import REFUSED, Family, random_of

LIMIT_S: Final = 30.0  # of processor time for one input; the slowest that is right takes 8 s
_WAIT_S: Final = 20 * LIMIT_S  # where other work has the processors, or nothing happens
MEMORY_MIB: Final = 768  # one input may add to what the process holds
_ADDRESSES: Final = 4 << 30  # where an allocation fails, so that a finding leaves the machine alone
_OWN: Final = str(Path(__file__).resolve().parents[2])
# A process that has made an Arrow file has threads, and a fork copies the locks that they hold for good:
# the reader hangs at the first that it needs. The server, from which all are forked, reads nothing.
CONTEXT: Final = multiprocessing.get_context("forkserver")


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What one input did.

    ``problem`` names the kind of a finding, "" where it was read or refused as it should be; ``detail``
    is what was seen of it.
    """

    outcome: str
    problem: str = ""
    detail: str = ""
    seconds: float = 0.0
    mib: float = 0.0


@final
class Worker:
    """Reads inputs of one family in a process of its own, which is replaced when it ends."""

    def __init__(self, family: Family, seed: int, folder: Path) -> None:
        self._family = family
        self._seed = seed
        self._folder = folder
        self._log = folder / "worker.log"
        self._process: Any = None
        self._pipe: Connection | None = None

    def run(self, number: int) -> Outcome:
        """Read one input; a crash or a hang is an outcome too."""
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        started = time.monotonic()
        self._pipe.send(number)
        used = _processor_s(self._process.pid)
        while not self._pipe.poll(1.0):
            waited = time.monotonic() - started
            if waited > _WAIT_S or _processor_s(self._process.pid) - used > LIMIT_S:
                os.kill(self._process.pid, signal.SIGUSR1)  # it writes down where it is
                self._process.join(1.0)
                found = Outcome("hang", _kind(self._said(), "hang"), self._said(), waited)
                self.close()
                return found
        try:
            outcome: Outcome = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code, said = self._process.exitcode, self._said()
            self.close()
            took = time.monotonic() - started
            return Outcome("crash", _kind(said, f"crash {code}"), f"exit code {code}\n{said}", took)
        return outcome

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._pipe, theirs = CONTEXT.Pipe()
        work = (self._family, self._seed, self._folder, self._log, theirs)
        self._process = CONTEXT.Process(target=_serve, args=work, daemon=True)
        self._process.start()
        theirs.close()

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")[-6_000:]
        return ""


def _serve(family: Family, seed: int, folder: Path, log: Path, pipe: Connection) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable(out)
    faulthandler.register(signal.SIGUSR1, out, all_threads=False)
    place = folder / "input"
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        os.ftruncate(out, 0)
        os.lseek(out, 0, os.SEEK_SET)
        addresses = _status("VmSize") * 1024 + _ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (addresses, resource.RLIM_INFINITY))
        pipe.send(observed(family, seed, number, place))


def observed(family: Family, seed: int, number: int, place: Path) -> Outcome:
    """Read one input here, in an empty folder, and say what it did."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    attack = family.make(random_of(seed, family.name, number))
    path = place / attack.name
    path.write_bytes(attack.content)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here
    before, started = _status("VmRSS"), time.monotonic()
    outcome, problem, detail = REFUSED, "", ""
    try:
        outcome = family.read(path, place)
    except CurateError as error:
        problem = "" if str(error).strip() else f"{type(error).__name__} without words"
    except BaseException as error:  # noqa: BLE001 - whatever else a reader raises is what we look for
        outcome, problem, detail = "traceback", _raised(error), traceback.format_exc()[-6_000:]
    took, mib = time.monotonic() - started, (_status("VmHWM") - before) / 1024
    if not problem and mib > MEMORY_MIB:
        problem, detail = "memory", f"{mib:,.0f} MiB over what the process held"
    return Outcome(outcome, problem, detail, took, mib)


def _raised(error: BaseException) -> str:
    """Return the class of an error and the last line of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(_OWN) and "/jobs/fuzz/" not in f.filename]
    where = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{where}"


def _kind(said: str, what: str) -> str:
    """Return what ended a process with the first line of ours in the stack that it left."""
    own = next((line.strip() for line in said.splitlines() if "/curate/" in line), "")
    return f"{what} at {own.rpartition('/')[2]}" if own else what


def _processor_s(pid: int) -> float:
    """Return the processor seconds that a process has used; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(name: str) -> int:
    """Return a line of the process's status, in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}; fuzzing needs Linux")


if sys.platform != "linux":  # pragma: no cover
    raise SystemExit("fuzzing measures memory by /proc, which only Linux has")
