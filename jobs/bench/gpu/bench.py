"""What a line of the GPU bench works with: the device, models that stay loaded, the clock."""

import gc
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch

from curate.models.load import LoadedModel
from jobs.bench.gpu.shapes import Shape, loaded, qwen2, random_causal, shape_of


class LineTimeoutError(Exception):
    """A line took longer than it may."""


@final
@dataclass(slots=True)
class Measurement:
    """One variant of one line.

    Parameters
    ----------
    line, variant
        What was tried, and in which way.
    values
        What was measured, by name with its unit.
    note
        What a reader needs beside the numbers.
    error
        Why it failed, or None.
    """

    line: str
    variant: str
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
    error: str | None = None


@final
@dataclass(slots=True)
class Bench:
    """The device and what the lines share.

    Parameters
    ----------
    device
        ``cpu`` or a CUDA device.
    tiny
        Whether to run a model for a try-out.
    out
        Folder for texts such as profiles.
    peak
        Operations a second of a large bfloat16 matrix product, None until it was measured.
    """

    device: str
    tiny: bool
    out: Path
    peak: float | None = None
    models: dict[str, tuple[Any, LoadedModel]] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """Type of the weights."""
        return "float32" if self.tiny and not self.is_cuda else "bfloat16"

    @property
    def is_cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device.startswith("cuda")

    def shape(self, name: str) -> Shape:
        """Return the shape a line is about."""
        return shape_of(name, tiny=self.tiny)

    def model(self, name: str) -> tuple[Any, LoadedModel]:
        """Return a model of a shape: whole, and as the pass takes it; the one before is dropped."""
        if name not in self.models:
            self.models.clear()
            self.free()
            whole = random_causal(qwen2(self.shape(name)), self.device, self.dtype)
            self.models[name] = whole, loaded(whole, self.device, self.dtype)
        return self.models[name]

    def free(self) -> None:
        """Give memory nobody uses back to the device."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()

    def wait(self) -> None:
        """Wait until the device has nothing left to do."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], *, repeats: int = 2) -> tuple[float, float]:
        """Return the median seconds of some work, the device waited for, and the peak GiB of memory."""
        self.wait()
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        spent = []
        for _ in range(1 if self.tiny else repeats):
            start = time.perf_counter()
            work()
            self.wait()
            spent.append(time.perf_counter() - start)
        peak = torch.cuda.max_memory_allocated() / 1024**3 if self.is_cuda else 0.0
        return statistics.median(spent), peak

    def share(self, flops: float, seconds: float) -> float:
        """Return the share of the measured peak, nan where it was not measured."""
        return flops / seconds / self.peak if self.peak else float("nan")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `LineTimeoutError` in the body after some seconds."""

    def stop(_signum: int, _frame: object) -> None:
        raise LineTimeoutError(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
