"""Figures of growth of what a user waits for: every kind of selection, and ingest, up to a million examples."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from jobs.bench.children import in_child
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.growth import exponent
from jobs.bench.large import OTHERS, PER_GROUP, TOP_K, Asked, select_large, write_large
from jobs.bench.stored import ingest_file

GOAL: Final = Goal("<=", 1.2, "exponent")  # k-means has more centres in a larger pool
ASKED: Final[Sequence[Asked]] = (TOP_K, PER_GROUP, *OTHERS)


def selections(bench: Bench) -> Figure:
    """Growth of each kind of selection out of a store: the steepest."""
    measured: list[Mapping[str, float]] = []
    for n in _sizes(bench):
        with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
            store = Path(folder, "curate.duckdb")
            in_child(write_large, store, n)
            in_child(select_large, store, TOP_K)  # sorts the pool
            runs = {asked.what: in_child(select_large, store, asked).value for asked in ASKED}
        measured.append({what: spent.cpu_s for what, (_, spent) in runs.items()})
    what = "largest slope of log processor seconds by log examples: a selection"
    return _steepest(bench, "select-growth", measured, what)


def ingests(bench: Bench) -> Figure:
    """Growth of reading a file into an empty pool."""
    measured: list[Mapping[str, float]] = []
    for n in _sizes(bench):
        data = bench.inputs.short_rows(n)
        folder = Path(tempfile.mkdtemp(dir=bench.inputs.work))
        done = in_child(ingest_file, folder / "curate.duckdb", str(data), profiler=bench.profiler)
        measured.append({"ingest": done.value[1].cpu_s})
        data.unlink()
        shutil.rmtree(folder)
    what = "slope of log processor seconds by log rows: ingest of short rows"
    return _steepest(bench, "ingest-growth", measured, what)


def _sizes(bench: Bench) -> tuple[int, int]:
    return bench.sizes.stored // 10, bench.sizes.stored


def _steepest(
    bench: Bench, name: str, measured: Sequence[Mapping[str, float]], what: str
) -> Figure:
    rows = _sizes(bench)
    slopes = {each: exponent(rows, [one[each] for one in measured]) for each in measured[0]}
    listed = "; ".join(
        f"{each} {', '.join(f'{one[each]:.3g}' for one in measured)} s ({slopes[each]:.2f})"
        for each in slopes
    )
    sizes = ", ".join(f"{n:,}" for n in rows)
    detail = f"{sizes} examples, processor seconds and exponent: {listed}"
    return judged(name, max(slopes.values()), GOAL, what, detail)
