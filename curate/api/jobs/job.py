"""Start a command in its own process, find it again, follow it, stop it.

Beside the parts of the store each job has three files: ``ID.json``, the command and how it ended;
``ID.log``, progress and notes; ``ID.out``, its result. The process holds a lock on its log for as
long as it lives; from the lock any other process can tell that it is running, even after the one
that started it has exited.
"""

import fcntl
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from curate.api.jobs.words import command_words, refuse_secrets
from curate.api.proof import Proof
from curate.contracts.progress import Progress, SilentProgress
from curate.errors import ConfigError, DataError, WorkerError
from curate.store.parts import read_json, write_json
from curate.store.records import utc_now
from curate.views.charts.text import html as safe
from curate.views.notebook.fragment import fragment, heading, tiles

State: TypeAlias = Literal["running", "done", "failed", "interrupted", "died"]

FOLDER: Final = "jobs"
POLL_S: Final = 0.3
SHOWN_LINES: Final = 8
_INTERRUPTED: Final = 130


@final
@dataclass(frozen=True, slots=True)
class Job:
    """One command that runs, or ran, in the background.

    Parameters
    ----------
    path
        Its record, ``ID.json``.
    progress
        Receives the lines of its log while `wait` waits.
    """

    path: Path
    progress: Progress

    @property
    def id(self) -> str:
        """The job's id."""
        return self.path.stem

    @property
    def record(self) -> dict[str, Any]:
        """Command, folder, times, process id and, once it ended, exit code."""
        record: dict[str, Any] = read_json(self.path)
        return record

    def status(self) -> State:
        """Return the state of the job.

        ``interrupted``: it was stopped, its finished work is saved, and the same command
        resumes it. ``died``: its process was killed, or the machine stopped.
        """
        if _is_locked(self.path.with_suffix(".log")):
            return "running"
        code = self.record.get("exit_code")
        if code is None:
            return "died"
        return "done" if code == 0 else "interrupted" if code == _INTERRUPTED else "failed"

    def log(self, n_lines: int | None = None) -> str:
        """Return its output so far, or only the last lines of it."""
        text = self.path.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
        return text if n_lines is None else "\n".join(text.splitlines()[-n_lines:])

    def wait(self, timeout_s: float | None = None) -> State:
        """Wait until it ends; return its status, or "running" after ``timeout_s`` seconds.

        New lines of its log are passed on as notes. Interrupting the cell stops only the waiting.

        Raises
        ------
        WorkerError
            It failed or died; the message has its last line and the path of its log.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        seen = 0
        while True:
            state = self.status()
            lines = self.log().splitlines()
            for line in lines[seen:]:
                self.progress.note(line)
            seen = len(lines)
            if state in ("failed", "died"):
                raise WorkerError(self._why(state))
            if state != "running" or (deadline is not None and time.monotonic() > deadline):
                return state
            time.sleep(POLL_S)

    def result(self) -> dict[str, Any]:
        """Return the document the command printed, as with ``--json``; a `Proof` of `prove`.

        Raises `DataError` if it has not ended, or if the command printed nothing.
        """
        state = self.status()
        text = self.path.with_suffix(".out").read_text(encoding="utf-8")
        document: dict[str, Any] = {}
        if state != "running" and text.strip():
            document = json.loads(text)
        if not document or "error" in document:  # which a command that failed prints instead
            raise DataError(f"job {self.id} is {state} and has no result; see job.log()")
        return Proof(document) if self.record["command"][1] == "prove" else document

    def cancel(self, *, force: bool = False) -> State:
        """Stop it as Ctrl-C would: finished work is saved. ``force``: kill its process at once.

        Returns its status after at most ten seconds; "running" if it is still saving.
        """
        deadline = time.monotonic() + 10
        told = False
        while self.status() == "running" and time.monotonic() < deadline:
            pid = self.record.get("pid")
            if pid is not None and not told:  # it holds the lock, so the number is still its own
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL) if force else os.kill(pid, signal.SIGINT)
                told = True
            time.sleep(0.05)
        return self.status()

    def __repr__(self) -> str:
        return f"Job({self.id!r}, {self.status()}, {_words(self.record['command'])!r})"

    def _repr_html_(self) -> str:
        record = self.record
        facts = [("status", self.status()), ("started", record["created_at"][:16] + " UTC")]
        if "ended_at" in record:
            facts.append(("ended", record["ended_at"][:16] + " UTC"))
        log = safe(self.log(SHOWN_LINES))
        title = heading(f"Job {self.id}", _words(record["command"]))
        return fragment(title, tiles(facts), f"<pre>{log}</pre>" if log else "")

    def _why(self, state: State) -> str:
        last = (self.log(1) or "no output").strip()
        where = self.path.with_suffix(".log")
        if state == "died":
            return (
                f"job {self.id} died: its process was killed; finished work is saved; start it "
                f"again to resume; its last line was {last!r}, its log is {where}"
            )
        code = self.record["exit_code"]
        return f"job {self.id} failed with exit code {code}: {last}; its log is {where}"


def start(
    store: Path, parts: Path, command: str, options: Mapping[str, Any],
    progress: Progress | None = None,
) -> Job:  # fmt: skip
    """Start ``curate COMMAND`` on a store, detached from this process.

    ``options`` are those of the command line with ``_`` for ``-``, see `curate.api.jobs.words`.
    It runs in the current folder, so relative paths keep their meaning.

    Raises `ConfigError` for options that the command has not, and for an address with a login in it.
    """
    refuse_secrets(options)
    words = ["curate", *command_words(command, {**options, "store": store, "as_json": True})]
    moment = utc_now()[:19].replace("-", "").replace(":", "").replace("T", "-")
    folder = parts / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{moment}-{command}-{secrets.token_hex(3)}.json"
    write_json(path, {"command": words, "folder": str(Path.cwd()), "created_at": utc_now()})
    with path.with_suffix(".log").open("wb") as log, path.with_suffix(".out").open("wb") as out:
        fcntl.flock(log, fcntl.LOCK_EX)  # the process inherits the open file, and with it the lock
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "curate.api.jobs.run", str(path)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
        )  # fmt: skip
    _STARTED.append(process)
    return Job(path, progress or SilentProgress())


def jobs(parts: Path, progress: Progress | None = None) -> list[Job]:
    """Return the jobs of a store, the newest first."""
    records = sorted((parts / FOLDER).glob("*.json"), reverse=True)
    return [Job(path, progress or SilentProgress()) for path in records]


def job(parts: Path, job_id: str, progress: Progress | None = None) -> Job:
    """Return the job with this id or id prefix."""
    known = jobs(parts, progress)
    matching = (
        [candidate for candidate in known if candidate.id.startswith(job_id)] if job_id else []
    )
    if len(matching) != 1:
        shown = ", ".join(candidate.id for candidate in known[:5]) or "none"
        how = "is a prefix of several job ids" if matching else "is not a job of this store"
        raise ConfigError(f"{job_id!r} {how}; the newest are: {shown}")
    return matching[0]


# Processes of this one, which the system keeps until somebody asks how they ended.
_STARTED: Final[list["subprocess.Popen[bytes]"]] = []


def _is_locked(path: Path) -> bool:
    for process in list(_STARTED):
        if process.poll() is not None:
            _STARTED.remove(process)
    with path.open("rb") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _words(command: list[str]) -> str:
    return shlex.join(command)
