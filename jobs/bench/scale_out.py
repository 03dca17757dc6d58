"""Figures of scoring by several workers: what an engine costs beside the work itself."""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import listed
from jobs.bench.stored import POOL

WORKERS: Final = 2
SCORERS: Final = ("mtld", "text_stats")  # they compute in Python: each worker has a core to itself
LOCAL: Final[dict[str, Any]] = {"workers": WORKERS}
RAY: Final[dict[str, Any]] = {"executor": "ray", "max_workers": WORKERS}


def ray_workers(bench: Bench) -> Figure:
    """Two actors of Ray beside two worker processes, over the same shards."""
    with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder, _ray():
        made, n_shards = _pool(bench, Path(folder))
        spent: dict[str, list[_Clock]] = {"ray": [], "local": []}
        for run in range(bench.sizes.runs):
            sides = [("ray", RAY), ("local", LOCAL)]
            for side, how in sides if run % 2 else reversed(sides):
                spent[side].append(_scored(made, Path(folder, f"{side}-{run}"), how))
    rates = [[clock.rate for clock in spent[side]] for side in ("ray", "local")]
    ratios = [ours / reference for ours, reference in zip(*rates, strict=True)]
    whole = [statistics.median(clock.seconds for clock in spent[side]) for side in ("ray", "local")]
    detail = (
        f"{n_shards} shards by {' and '.join(SCORERS)}; {listed(ratios)} x; "
        f"{statistics.median(rates[0]):,.0f} against {statistics.median(rates[1]):,.0f} examples/s; with the "
        f"start of the workers {whole[0]:.1f} s against {whole[1]:.1f} s"
    )
    reference = (
        f"{WORKERS} actors on a Ray that runs, against {WORKERS} worker processes, from the first finished "
        "shard on"
    )
    goal = Goal(">=", 0.9, "x")
    return judged("ray-workers", statistics.median(ratios), goal, reference, detail)


@final
@dataclass(slots=True)
class _Clock:
    """A `Progress` that notes when how many examples were done."""

    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    done: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Examples per second from the first finished shard on; of everything if there is but one."""
        first = self.done[0][0] if len(self.done) > 1 else self.began
        counted = self.done[1:] or self.done
        return sum(n for _, n in counted) / (self.done[-1][0] - first)

    def start(self, stage: str, total: int | None, unit: str, done: int = 0) -> None:
        """Ignore the stage."""

    def advance(self, stage: str, amount: int) -> None:
        """Note the examples of a shard."""
        self.done.append((time.perf_counter(), amount))

    def finish(self, stage: str) -> None:
        """Ignore the end."""

    def note(self, text: str) -> None:
        """Ignore the line."""


@contextlib.contextmanager
def _ray() -> Iterator[None]:
    import ray

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(
        "local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    try:
        yield
    finally:
        ray.shutdown()


def _pool(bench: Bench, folder: Path) -> tuple[Path, int]:
    import curate as cu

    made = folder / "made"
    made.mkdir()
    pool = cu.open(made / "curate.duckdb", create=True)
    pool.ingest(str(bench.inputs.parquet_of(POOL, bench.sizes.ingest)))
    return made, len(pool.store.shards())


def _scored(made: Path, copy: Path, how: dict[str, Any]) -> _Clock:
    import curate as cu

    shutil.copytree(made, copy)
    pool = cu.open(copy / "curate.duckdb")
    clock = pool.progress = _Clock()
    pool.score(*SCORERS, **how)
    clock.seconds = time.perf_counter() - clock.began
    shutil.rmtree(copy)
    return clock
