"""A process that answers questions which may take for ever: it is ended after a time and started again."""

import json
import os
import resource
import select
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, final

from curate.errors import ScoreError

START_S: Final = 120.0  # it imports what it needs first
BYTES_AT_ONCE: Final = 1 << 16
_READY: Final = "ready"


@final
@dataclass(eq=False)
class PatientProcess:
    """A module of ours that runs `served` in a process of its own.

    Parameters
    ----------
    module
        Its dotted name.
    limit_s
        Seconds an answer may take.
    memory_mib
        Address space it may take.
    """

    module: str
    limit_s: float
    memory_mib: int
    _running: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def ask(self, question: Any) -> Any:
        """Return the answer; text says why there is none: ``time``, ``memory`` or ``crash``.

        Raises `ScoreError` if the process cannot be started.
        """
        process = self._running
        if process is None:
            process = self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            answer = self._read(process, self.limit_s)
        except BrokenPipeError:
            answer = "crash"
        if isinstance(answer, str):
            self.end()
        return answer

    def end(self) -> None:
        """End the process, if one runs."""
        if self._running is not None:
            _end(self._running)
            self._running = None

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", self.module, str(self.memory_mib)]
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise ScoreError(f"cannot start {' '.join(command)}: {error}") from error
        weakref.finalize(self, _end, process)
        self._running = process
        if self._read(process, START_S) != [_READY]:
            self.end()
            raise ScoreError(f"{' '.join(command)} does not start; run it by hand to see why")
        return process

    @staticmethod
    def _read(process: "subprocess.Popen[bytes]", limit_s: float) -> Any:
        """Return one line of JSON, or why there is none in time."""
        assert process.stdout is not None
        place = process.stdout.fileno()
        text = b""
        while not text.endswith(b"\n"):
            readable, _, _ = select.select([place], [], [], limit_s)
            if not readable:
                return "time"
            piece = os.read(place, BYTES_AT_ONCE)
            if not piece:
                return "crash"
            text += piece
        return json.loads(text)


def served(answer: Callable[[Any], list[str]]) -> int:
    """Answer questions, one line of JSON each, until there are no more; return the exit status.

    An answer is a list; text says that memory was short or that the question broke the answerer.
    """
    limit = int(sys.argv[1]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no reply
    _say(replies, [_READY])
    for line in sys.stdin.buffer:
        reply: list[str] | str
        try:
            reply = answer(json.loads(line))
        except MemoryError:
            reply = "memory"
        except Exception as error:  # noqa: BLE001 - libraries raise anything at what a model writes
            reply = f"crash ({type(error).__name__})"
        _say(replies, reply)
    return 0


def _say(place: int, reply: "list[str] | str") -> None:
    with os.fdopen(place, "wb", closefd=False) as pipe:
        pipe.write(json.dumps(reply).encode() + b"\n")


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:  # what it never read is still in the buffer
                continue
