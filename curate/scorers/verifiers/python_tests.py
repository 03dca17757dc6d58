"""Programs of a model, checked by tests in Python, each in a confined process of its own."""

import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn, final

from curate.errors import ConfigError, ExampleFailure, ScoreError
from curate.scorers.verifiers import confined
from curate.scorers.verifiers.verdict import NO_REFERENCE, Verdict, Verifier

_FENCE: Final = re.compile(r"[ \t]*(`{3,})[ \t]*([\w+.#-]*)[^`\n]*")
_PYTHON: Final = ("python", "python3", "py")
_ENDED_BY_LIMIT: Final = (-signal.SIGXCPU, -signal.SIGKILL)
_MAX_VERDICT: Final = 4_096
WAITING: Final = 3  # a program may wait so many times as long as it may compute
START_S: Final = 60.0  # it reads its job and confines itself first


@final
@dataclass(frozen=True, slots=True)
class PythonVerifier(Verifier):
    """Right where a program ends its tests without an exception.

    The program is the fenced blocks of Python in the answer (see `program`). The tests, the
    reference, run after it in the same names. A program that needs more time or memory than it may
    have, or crashes the interpreter, is undecided.
    """

    limit_s: float
    memory_mib: int

    def accept(self, reference: str) -> None:
        if not reference.strip():
            raise ExampleFailure(NO_REFERENCE)

    def check(self, answer: str, reference: str) -> Verdict:
        code = program(answer)
        if not code.strip():
            return Verdict("wrong", why="no program")
        with tempfile.TemporaryDirectory(prefix="curate-", ignore_cleanup_errors=True) as folder:
            outcome, why, status = self._run(code, _tests(reference), folder)
        if outcome in ("right", "wrong"):
            return Verdict("right" if outcome == "right" else "wrong", code, why)
        if outcome == "memory":
            return Verdict("undecided", code, "memory")
        if status in _ENDED_BY_LIMIT:
            return Verdict("undecided", code, "time")
        if status < 0:
            return Verdict("undecided", code, "crash")
        return Verdict("wrong", code, "it left before the end of its tests")

    def _run(self, code: str, tests: str, folder: str) -> tuple[str, str, int]:
        """Return the outcome and reason that the confined process says, "" for none, and how it ended."""
        token = secrets.token_hex(16)
        waiting_s = WAITING * self.limit_s
        job = {
            "code": code, "tests": tests, "folder": folder, "token": token,
            "cpu_s": max(1, round(self.limit_s)), "time_s": waiting_s + 10, "memory_mib": self.memory_mib,
        }  # fmt: skip
        with tempfile.TemporaryFile() as errors:
            process, job_end, verdict_end = _start(folder, errors.fileno())
            try:
                with suppress(BrokenPipeError), os.fdopen(job_end, "wb") as pipe:
                    pipe.write(json.dumps(job).encode())
                said, rest = _line(verdict_end, b"", START_S)
                confined_now = said == f"{token} confined"
                if confined_now:
                    said, _ = _line(verdict_end, rest, waiting_s)
            finally:
                os.close(verdict_end)
                status = _end(process)
            if not confined_now:
                errors.seek(0)
                _refuse(said, token, status, errors.read(_MAX_VERDICT).decode(errors="replace"))
        word, _, verdict = said.partition(" ")
        outcome, _, why = verdict.partition(" ")
        return (outcome, why, status) if word == token else ("", "", status)


def _refuse(said: str, token: str, status: int, errors: str) -> NoReturn:
    """Raise the error for a process that has not confined itself, so that no program was run."""
    if said.startswith(f"{token} unconfined "):
        why = said.removeprefix(f"{token} unconfined ")
        raise ConfigError(
            f"a program of a model cannot be confined here ({why}), so none is run; use Linux 6.2 or "
            "later with Landlock and seccomp, or another verifier: number, boxed, exact, regex"
        )
    last = " ".join(errors.split()[-40:]) or "it says nothing"
    raise ScoreError(
        f"the process that checks programs does not start (status {status}): {last}; free memory or "
        "raise memory_mib, and run the same command again: what is finished is kept"
    )


def _line(place: int, text: bytes, limit_s: float) -> tuple[str, bytes]:
    """Return the next line from a pipe and what follows it; "" if none comes in time."""
    ends = time.monotonic() + limit_s
    while b"\n" not in text and len(text) < _MAX_VERDICT:
        readable, _, _ = select.select([place], [], [], max(0.0, ends - time.monotonic()))
        piece = os.read(place, _MAX_VERDICT) if readable else b""
        if not piece:
            return "", b""
        text += piece
    line, _, rest = text.partition(b"\n")
    return line.decode(errors="replace"), rest


def _end(process: "subprocess.Popen[bytes]") -> int:
    """Give a process that has said its verdict a moment to end, then kill it; return how it ended."""
    try:
        return process.wait(timeout=1 if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def program(answer: str) -> str:
    r"""Return the fenced blocks of Python in an answer, one after another, or all of it.

    Blocks said to be Python are the program where there are any, else those of no language. One
    that is not closed, as in an answer that was cut off, goes to the end.

    Examples
    --------
    >>> program("Here:\n```python\nx = 1\n```\nIt prints\n```\n1\n```\n")
    'x = 1\n'
    """
    blocks = _blocks(answer)
    if not blocks:
        return answer
    python = [text for language, text in blocks if language in _PYTHON]
    return "".join(python or [text for language, text in blocks if not language])


def _blocks(answer: str) -> list[tuple[str, str]]:
    """Return the language, in small letters, and the text of every fenced block."""
    blocks: list[tuple[str, str]] = []
    fence, language, lines = "", "", list[str]()
    for line in answer.splitlines(keepends=True):
        mark = _FENCE.fullmatch(line.rstrip("\r\n"))
        if not fence and mark:
            fence, language, lines = mark[1], mark[2].casefold(), []
        elif fence and mark and len(mark[1]) >= len(fence) and not mark[2]:
            blocks.append((language, "".join(lines)))
            fence = ""
        elif fence:
            lines.append(line)
    if fence:
        blocks.append((language, "".join(lines)))
    return blocks


def _tests(reference: str) -> str:
    """Return tests as a program: a JSON list of lines, as MBPP has them, becomes lines."""
    with suppress(ValueError, RecursionError):
        lines = json.loads(reference)
        if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
            return "\n".join(lines)
    return reference


def _start(folder: str, errors: int) -> "tuple[subprocess.Popen[bytes], int, int]":
    """Start the confined process; return it, where its job goes and where its verdict comes from."""
    job_read, job_write = os.pipe()
    verdict_read, verdict_write = os.pipe()

    own = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {
        **own, "PATH": os.defpath, "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder,
        "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    try:
        process = subprocess.Popen(
            [sys.executable, "-s", "-P", confined.__file__, str(job_read), str(verdict_write)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
            env=environment, start_new_session=True, pass_fds=(job_read, verdict_write),
        )  # fmt: skip
    except OSError as error:
        os.close(job_write)
        os.close(verdict_read)
        raise ScoreError(f"cannot start a process for a program of a model: {error}") from error
    finally:
        os.close(job_read)
        os.close(verdict_write)
    return process, job_write, verdict_read
