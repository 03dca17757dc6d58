"""Interleaved timing: both sides of a ratio take turns, batch by batch, in one process."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar, final

from jobs.bench.figure import Bench

T = TypeVar("T")
THREADS: Final = 1  # a worker computes with one thread on a CPU; the reference gets the same


@final
@dataclass(frozen=True, slots=True)
class Paired:
    """Seconds of each side, per run."""

    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def speedups(self) -> tuple[float, ...]:
        """Reference time by our time, per run."""
        return tuple(r / o for o, r in zip(self.ours, self.reference, strict=True))

    @property
    def costs(self) -> tuple[float, ...]:
        """Our time by reference time, per run."""
        return tuple(1 / speedup for speedup in self.speedups)

    def rates(self, tokens: int) -> str:
        """Return each side's median tokens per second."""
        ours, reference = statistics.median(self.ours), statistics.median(self.reference)
        return f"{tokens / ours:,.0f} against {tokens / reference:,.0f} tokens/s"


def interleave(
    bench: Bench,
    ours: Callable[[T], object],
    reference: Callable[[T], object],
    work: Sequence[T],
    runs: int,
) -> Paired:
    """Time both sides on every piece of work, in turns, and swap who goes first each time.

    Whatever else the machine does meanwhile meets both sides alike. One untimed piece comes first.
    """
    ours(work[-1])
    reference(work[-1])
    spent: list[tuple[float, float]] = []
    for run in range(runs):
        total_ours = total_reference = 0.0
        for number, piece in enumerate(work):
            first = (run + number) % 2 == 0
            if first:
                total_ours += _seconds_profiled(bench, ours, piece)
            total_reference += _seconds(reference, piece)
            if not first:
                total_ours += _seconds_profiled(bench, ours, piece)
        spent.append((total_ours, total_reference))
    return Paired(tuple(o for o, _ in spent), tuple(r for _, r in spent))


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Compute with `THREADS` threads, and give the process its own number back afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let numpy and faiss compute with as many threads as torch does."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(THREADS):
        yield


def listed(values: Iterable[float], digits: int = 2) -> str:
    """Return numbers as text, separated by commas."""
    return ", ".join(f"{value:,.{digits}f}" for value in values)


def _seconds(function: Callable[[T], object], piece: T) -> float:
    start = time.perf_counter()
    function(piece)
    return time.perf_counter() - start


def _seconds_profiled(bench: Bench, function: Callable[[T], object], piece: T) -> float:
    with bench.profiled():
        return _seconds(function, piece)
