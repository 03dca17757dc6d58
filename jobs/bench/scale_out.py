"""Figures of scoring by several workers: what an engine costs beside the work itself."""

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.paired import Paired, listed
from jobs.bench.stored import POOL

WORKERS: Final = 2
SCORERS: Final = ("mtld", "text_stats")  # they compute in Python: each worker has a core to itself
LOCAL: Final[dict[str, Any]] = {"workers": WORKERS}
RAY: Final[dict[str, Any]] = {"executor": "ray", "max_workers": WORKERS}


def ray_workers(bench: Bench) -> Figure:
    """Two actors of Ray beside two worker processes, over the same shards, start of both included."""
    with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder, _ray():
        made, n_shards = _pool(bench, Path(folder))
        spent: dict[str, list[float]] = {"ray": [], "local": []}
        for run in range(bench.sizes.runs):
            sides = [("ray", RAY), ("local", LOCAL)]
            for side, how in sides if run % 2 else reversed(sides):
                spent[side].append(_seconds(made, Path(folder, f"{side}-{run}"), how))
    paired = Paired(tuple(spent["ray"]), tuple(spent["local"]))
    ratio = statistics.median(paired.speedups)
    detail = (
        f"{n_shards} shards by {' and '.join(SCORERS)}; {listed(paired.speedups)} x; "
        f"{statistics.median(paired.ours):.1f} s against {statistics.median(paired.reference):.1f} s"
    )
    reference = f"{WORKERS} actors on a Ray that runs, against {WORKERS} worker processes"
    return judged("ray-workers", ratio, Goal(">=", 0.9, "x"), reference, detail)


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


def _seconds(made: Path, copy: Path, how: dict[str, Any]) -> float:
    import curate as cu

    shutil.copytree(made, copy)
    pool = cu.open(copy / "curate.duckdb")
    began = time.perf_counter()
    pool.score(*SCORERS, **how)
    spent = time.perf_counter() - began
    shutil.rmtree(copy)
    return spent
