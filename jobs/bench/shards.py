"""Figures of shards: what many of them cost, and what one costs beside the work in it."""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from jobs.bench.children import Spent, in_child, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.growth import LINEAR, exponent
from jobs.bench.large import TOP_K as ASKED
from jobs.bench.large import select_large, set_of, write_random_parts
from jobs.bench.paired import listed
from jobs.bench.stored import POOL, write_pool

PER_SHARD: Final = 100  # examples: few, so that there are many shards
COMMITTERS: Final = 16  # simulated workers
SUSTAINED: Final = 4  # times the usual rows: they are written for seconds, not within one commit
CALM: Final = (
    0.5  # load of the machine, by core, above which two workers cannot be compared with one
)


def growth(bench: Bench) -> Figure:
    """Growth of what a store of many parts is asked: the steepest of all."""
    rows = bench.sizes.growth
    measured: list[Mapping[str, float]] = []
    with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
        for n in rows:
            store = Path(folder, str(n), "curate.duckdb")
            store.parent.mkdir()
            measured.append(in_child(use_many_shards, store, n).value)
    steepest = {
        name: exponent(rows[-2:], [each[name] for each in measured[-2:]]) for name in measured[-1]
    }
    listed = "; ".join(
        f"{name} {', '.join(f'{each[name]:.3g}' for each in measured)} s ({steepest[name]:.2f})"
        for name in steepest
    )
    counts = ", ".join(f"{max(n // PER_SHARD, 1):,}" for n in rows)
    detail = f"{counts} shards of {PER_SHARD} examples, processor seconds and exponent: {listed}"
    what = "largest slope of log seconds by log shards, of the last two: what a store is asked"
    return judged("shards-growth", max(steepest.values()), LINEAR, what, detail)


def two_workers(bench: Bench) -> Figure:
    """Compare two local workers with one, for a model too small to use two cores."""
    n = bench.sizes.short_runs[1]  # minutes for one worker, and seconds to start two
    data, model = str(bench.inputs.short_rows(n)), bench.inputs.model()
    ratios, runs = [], []
    for _ in range(bench.sizes.repeats):
        with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
            one, two = (
                in_child(score_with, Path(folder, f"{k}.duckdb"), data, model, k).value
                for k in (1, 2)
            )
        runs.append((one.wall_s, two.wall_s))
        ratios.append(one.wall_s / two.wall_s)
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    doubt = "; OTHERS USED THE MACHINE: it says little" if busy > 2 + CALM else ""
    detail = (
        f"{n:,} short rows: {', '.join(f'{a:.1f} against {b:.1f}' for a, b in runs)} s, model loaded and "
        f"committed; the single runs: {listed(ratios)}{doubt}"
    )
    what = "time of scoring with one local worker, by that with two, on two cores"
    value = statistics.median(ratios)
    return judged("two-workers", value, Goal(">=", 1.7, "x"), what, detail)


def overhead(bench: Bench) -> Figure:
    """Measure what a shard costs beside its pass: reports, parts, log and commit.

    A small pool has the smallest shards by default, and so the largest share of it.
    """
    n = bench.sizes.growth[0] // 5
    data, model = str(bench.inputs.parquet_of(POOL, n)), bench.inputs.model()
    with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
        path = Path(folder, "curate.duckdb")
        whole, inside, n_shards = in_child(score_and_split, path, data, model).value
    beside = whole - inside
    detail = (
        f"{n_shards} shards of {n // n_shards:,} real examples: {whole:.1f} s of processor time, "
        f"{inside:.1f} of them in the pass and {beside / n_shards * 1000:,.0f} ms a shard beside it"
    )
    what = "processor time beside the pass, model and imports aside, by all of it"
    return judged("shard-overhead", 100 * beside / whole, Goal("<", 2, "%"), what, detail)


def commit_of_many(bench: Bench) -> Figure:
    """Commit while sixteen simulated workers do nothing but write parts, one set after the other."""
    n = SUSTAINED * bench.sizes.stored
    with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
        path = Path(folder, "curate.duckdb")
        in_child(write_pool, path, n, 4)
        runs = [
            in_child(write_and_commit, path, number, profiler=bench.profiler).value
            for number in range(bench.sizes.repeats)
        ]
    ratios = [(writing + behind) / writing for writing, _, behind in runs]
    listed_runs = "; ".join(
        f"{writing:.1f} s, {behind:.1f} s, {committing:.1f} s"
        for writing, committing, behind in runs
    )
    detail = (
        f"{n:,} rows of 5 values by {COMMITTERS} writers; until the last part was written, from then until "
        f"everything was committed, and in commits: {listed_runs}; the single runs: {listed(ratios)}"
    )
    what = f"seconds until all is committed, by those until {COMMITTERS} workers that do nothing else wrote it"
    return judged("commit-of-16", statistics.median(ratios), Goal("<=", 1.5, "x"), what, detail)


# What the children run ---------------------------------------------------------------------------


def score_with(path: Path, data: str, model: Path, workers: int) -> Spent:
    """Ingest and score; return what scoring took after the imports."""
    import torch  # noqa: F401
    import transformers.models.auto.modeling_auto  # noqa: F401

    import curate
    import curate.scoring.passes  # what a worker would import is not what is measured

    pool = curate.open(path, create=True)
    pool.ingest(data)
    with stopwatch() as spent:
        pool.score("likelihood", model=str(model), template="plain", workers=workers)
    return spent


def score_and_split(path: Path, data: str, model: Path) -> tuple[float, float, int]:
    """Score in this process; return the processor seconds of it, those in the pass, and the shards."""
    import curate
    from curate.scoring.passes import ForwardPass, WorkerPass

    inside = loading = 0.0
    run, load = ForwardPass.run, WorkerPass.load

    def timed_run(*given: Any, **named: Any) -> Any:
        nonlocal inside
        began = time.process_time()
        try:
            return run(*given, **named)
        finally:
            inside += time.process_time() - began

    def timed_load(*given: Any, **named: Any) -> Any:
        nonlocal loading
        began = time.process_time()
        try:
            return load(*given, **named)
        finally:
            loading += time.process_time() - began

    pool = curate.open(path, create=True)
    pool.ingest(data)
    pool.score("likelihood", model=str(model), template="plain", workers=1, limit=8)  # imports
    ForwardPass.run, WorkerPass.load = timed_run, timed_load  # type: ignore[method-assign]
    with stopwatch() as spent:
        pool.score("likelihood", model=str(model), template="plain", workers=1)
    return spent.cpu_s - loading, inside, len(pool.store.shards())


def write_and_commit(path: Path, number: int) -> tuple[float, float, float]:
    """Write the parts of a new score set from many threads and commit them meanwhile.

    Returns the seconds until the last part was written, those spent in commits, and those from the
    last part until everything was committed.
    """
    from curate.store import Store

    store = Store(path)
    score_set = set_of(store, "likelihood", f"likelihood-{number}")
    shards = store.shards()
    writers = [
        threading.Thread(
            target=write_random_parts, args=(store, score_set, k, shards[k::COMMITTERS])
        )
        for k in range(COMMITTERS)
    ]
    began = time.perf_counter()
    committing = 0.0
    for writer in writers:
        writer.start()
    written = None
    while True:
        alive = any(writer.is_alive() for writer in writers)
        if not alive and written is None:
            written = time.perf_counter()
        without, there = store.pending_shards(score_set, shards)
        started = time.perf_counter()
        store.commit_parts(score_set, [shard.shard_id for shard in there])
        committing += time.perf_counter() - started
        if written is not None and not without:
            return written - began, committing, time.perf_counter() - written
        time.sleep(0.01)


def use_many_shards(path: Path, n: int) -> dict[str, float]:
    """Make a store of n examples in small shards; return the processor seconds of each use of it."""
    from curate.scoring.watching import watched
    from curate.store import Store
    from curate.store.pool import cut

    cut.MAX_SHARD = cut.MIN_SHARD = PER_SHARD  # type: ignore[misc]
    spent: dict[str, float] = {}

    def timed(name: str, began: float) -> None:
        spent[name] = time.process_time() - began

    began = time.process_time()
    write_pool(path, n, 4)
    timed("ingest", began)
    store = Store(path)
    score_set = set_of(store, "likelihood")
    write_random_parts(store, score_set, 0)
    began = time.process_time()
    shards = store.shards()
    for start in range(0, len(shards), 64):
        store.commit_parts(score_set, [shard.shard_id for shard in shards[start : start + 64]])
    timed("commit in steps of 64", began)
    began = time.process_time()
    store.finish(score_set)
    timed("content hash", began)
    uses: Mapping[str, Callable[[], object]] = {
        "status": store.status,
        "progress": lambda: watched(store),
        "view": lambda: store.view(bind={"likelihood": score_set.set_id}),
        "select": lambda: select_large(path, ASKED),
    }
    for name, use in uses.items():
        began = time.process_time()
        use()
        timed(name, began)
    return spent
