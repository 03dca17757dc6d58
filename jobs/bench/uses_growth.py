"""The figure of growth of what a store is asked: ingest, commit, status, view, selection, explain, why-not."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from jobs.bench.children import in_child, peak_bytes
from jobs.bench.figure import Bench, Figure
from jobs.bench.growth import LINEAR
from jobs.bench.growth_page import GrowthPage, Size
from jobs.bench.methods_growth import growth_figure
from jobs.bench.stored import (
    RANK,
    commit_parts,
    ingest_file,
    score_set_of,
    select_stored,
    write_parts,
    write_pool,
)

ALIAS: Final = "likelihood"
WORDS: Final = 4  # of each text
NOTE: Final = (
    "The slope goes through the last two sizes: smaller stores cost what opening one costs. To make a store of ten "
    "million examples takes minutes: selections of them are in bench.md, `top-k-10m` and `memory-10m`."
)


def uses(bench: Bench) -> Figure:
    """Growth of what a store is asked, each in a store of its own size: the steepest."""
    page = GrowthPage.open(bench, "uses")
    for n in bench.sizes.growth:
        if page.has_size(n):
            continue
        data = bench.inputs.short_rows(n)
        with tempfile.TemporaryDirectory(dir=bench.inputs.work) as folder:
            done = in_child(use_store, Path(folder), n, str(data), profiler=bench.profiler)
        data.unlink()
        page.add_sizes(done.value, LINEAR.limit)
    page.finish(NOTE, {})
    return growth_figure(
        "uses-growth", page.lines, LINEAR, "what a store is asked, from 100,000 to a million"
    )


# What the child runs -----------------------------------------------------------------------------


def use_store(folder: Path, n: int, data: str) -> dict[str, Size]:
    """Make stores of n examples; return the processor seconds of each use, and the peak up to it."""
    import curate.select.run  # noqa: F401
    from curate.select.why_not import absences
    from curate.store import Store

    spent: dict[str, Size] = {}

    def timed(name: str, use: Callable[[], object]) -> None:
        began = time.process_time()
        use()
        spent[name] = Size(n, time.process_time() - began, peak_bytes())

    ingest_file(folder / "first.duckdb", _first_rows(data, folder))  # imports
    timed("ingest", lambda: ingest_file(folder / "ingested.duckdb", data))
    path = folder / "curate.duckdb"
    write_pool(path, n, WORDS)
    write_parts(path, [ALIAS])
    store = Store(path)
    timed("commit", lambda: commit_parts(path, ALIAS))
    score_set = score_set_of(store, ALIAS)
    timed("content hash", lambda: store.finish(score_set))
    bound: Mapping[str, str] = {ALIAS: score_set.set_id}
    timed("first view, which sorts the pool", lambda: store.view(bind=bound))
    timed("view", lambda: store.view(bind=bound))
    timed("snapshot", store.snapshot)
    timed("status", store.status)
    timed("select", lambda: select_stored(path, {"rank": RANK}, "10%", 0))
    example = str(
        store.read(f"select id from scores order by {RANK}, id limit 1")["id"].to_pylist()[0]
    )
    timed("explain", lambda: store.example(example))
    document = store.example(example)
    timed("why-not", lambda: absences(store, document))
    return spent


def _first_rows(data: str, folder: Path) -> str:
    """Write the first rows of a file into another one; return it."""
    few = folder / "few.jsonl"
    with Path(data).open(encoding="utf-8") as lines:
        few.write_text("".join(line for line, _ in zip(lines, range(20), strict=False)), "utf-8")
    return str(few)
