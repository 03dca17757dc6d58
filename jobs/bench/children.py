"""Steps in a process of their own, so that their peak memory is their own."""

import cProfile
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal, final

from jobs.bench.profiling import Profiler, text_of

_STATUS: Final = "/proc/{}/status"
_HEAVY: Final = (
    "torch", "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama",
    "curate.api.pool", "curate.scoring.passes", "curate.store.store",
)  # fmt: skip
MIB: Final = 1024**2


@final
@dataclass(frozen=True, slots=True)
class Finished:
    """What a child hands back: the step's result and its peak resident memory."""

    value: Any
    peak_bytes: int


@final
@dataclass(slots=True)
class Spent:
    """Seconds on the clock, and of the processor: far apart where others use the machine too."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Spent]:
    """Measure the body; the seconds are there when it has ended."""
    spent = Spent()
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent.wall_s, spent.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


def fork_children() -> None:
    """Fork every later child from one process that has imported the heavy libraries.

    A fresh interpreter takes seconds to import them. Memory that they take is then in every peak,
    so this is for a try-out, whose figures nobody reads.
    """
    global _method
    _method = "forkserver"
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_HEAVY))


_method = "spawn"


def in_child(
    step: Callable[..., Any], *arguments: Any, profiler: Profiler | None = None
) -> Finished:
    """Run a module-level function in a process of its own, a fresh interpreter, and wait for it.

    Its profile goes to the profiler, if there is one.

    Raises `RuntimeError` when the child ends without a result; its traceback is on stderr.
    """
    context: Any = multiprocessing.get_context(_method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, step, arguments, profiler is not None))
    process.start()
    theirs.close()
    try:
        received: tuple[Finished, str] = ours.recv()
    except EOFError:
        process.join()
        name = step.__name__
        raise RuntimeError(f"step {name!r} ended with exit code {process.exitcode}") from None
    process.join()
    if profiler is not None:
        profiler.add(received[1])
    return received[0]


def peak_bytes(process: int | Literal["self"] = "self") -> int:
    """Return the most memory this process has held resident, or on Linux another one.

    On Linux from the kernel's account of this program alone: ``ru_maxrss`` of a child starts at
    what its parent held when it forked.
    """
    status = Path(_STATUS.format(process))
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _run(
    connection: Connection, step: Callable[..., Any], arguments: tuple[Any, ...], profile: bool
) -> None:
    if not profile:
        value = step(*arguments)
        connection.send((Finished(value, peak_bytes()), ""))
        return
    profiler = cProfile.Profile()
    value = profiler.runcall(step, *arguments)
    connection.send((Finished(value, peak_bytes()), text_of(profiler)))
