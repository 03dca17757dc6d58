"""Figures of start-up: how long before the command line and the library are there."""

import os
import resource
import statistics
import subprocess
import sys
import time

from jobs.bench.children import Spent
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.machine import ROOT
from jobs.bench.paired import listed
from jobs.explored import CURATE


def help_time(bench: Bench) -> Figure:
    """Seconds of ``curate --help``, interpreter included."""
    return _timed(bench, "help", ["-c", CURATE, "--help"], Goal("<", 0.5, "s"), "curate --help")


def import_time(bench: Bench) -> Figure:
    """Seconds of ``import curate``, interpreter included."""
    words = ["-c", "import curate"]
    return _timed(bench, "import", words, Goal("<", 0.15, "s"), "python -c 'import curate'")


def _timed(bench: Bench, name: str, words: list[str], goal: Goal, what: str) -> Figure:
    empty = [_run(["-c", ""]).wall_s for _ in range(bench.sizes.runs)]
    _run(words)
    spent = [_run(words) for _ in range(bench.sizes.runs)]
    times = [one.wall_s for one in spent]
    if bench.profiler is not None:
        bench.profiler.add(import_times(words))
    detail = (
        f"{listed(times, 3)} s; processor {listed((one.cpu_s for one in spent), 3)} s; an empty "
        f"interpreter takes {statistics.median(empty):.3f} s"
    )
    return judged(name, statistics.median(times), goal, what, detail)


def import_times(words: list[str]) -> str:
    """Return what the interpreter says about the time of each import."""
    command = [sys.executable, "-X", "importtime", *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return done.stderr


def _run(words: list[str]) -> Spent:
    command = [sys.executable, *words]
    start, before = time.perf_counter(), _cpu_of_children()
    subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
    return Spent(time.perf_counter() - start, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment() -> dict[str, str]:
    """Return the variables of a process that runs this checkout."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "selectors")])}
