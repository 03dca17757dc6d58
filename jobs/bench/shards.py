"""Figures of shards: what many of them cost, and what one costs beside the work in it."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jobs.bench.children import in_child
from jobs.bench.figure import Bench, Figure, judged
from jobs.bench.growth import LINEAR, exponent
from jobs.bench.large import TOP_K as ASKED
from jobs.bench.large import select_large, set_of, write_random_parts
from jobs.bench.stored import write_pool

PER_SHARD: Final = 100  # examples: few, so that there are many shards


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


# What the children run ---------------------------------------------------------------------------


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
    for name, use in {
        "status": store.status,
        "progress": lambda: watched(store),
        "view": lambda: store.view(bind={"likelihood": score_set.set_id}),
        "select": lambda: select_large(path, ASKED),
    }.items():
        began = time.process_time()
        use()
        timed(name, began)
    return spent
