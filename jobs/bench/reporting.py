"""The figure of the report: what ``curate report`` takes over a million examples with real texts."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from jobs.bench.children import MIB, Spent, in_child, stopwatch
from jobs.bench.figure import Bench, Figure, Goal, judged
from jobs.bench.large import write_random_parts
from jobs.bench.paired import listed
from jobs.bench.stored import RANK, write_texts

REAL_TEXTS: Final = 12_000
SCORERS: Final = ("likelihood", "donod", "length")


def report(bench: Bench) -> Figure:
    """Write the report of a store with three score sets and two selections."""
    n = bench.sizes.stored
    texts = RealTexts(_real_texts(bench.inputs.parquet("dolly_15k")))
    store = bench.inputs.work / "reported" / "curate.duckdb"
    store.parent.mkdir()
    n_chars = in_child(write_store, store, n, texts).value
    done = [
        in_child(write_page, store, profiler=bench.profiler) for _ in range(bench.sizes.repeats)
    ]
    spent: list[Spent] = [one.value for one in done]
    detail = (
        f"{n:,} examples of {n_chars / n:,.0f} characters, {len(SCORERS)} score sets, 2 selections; processor "
        f"{listed((one.cpu_s for one in spent), 1)} s, on the clock {listed((one.wall_s for one in spent), 1)} s; "
        f"peak {max(one.peak_bytes for one in done) / MIB:,.0f} MiB"
    )
    value = statistics.median(one.cpu_s for one in spent)
    what = (
        "processor time of curate report: facts, scores, selections, near-duplicates of all texts"
    )
    return judged("report", value, Goal("<", 10, "s"), what, detail)


def _real_texts(path: Path) -> Sequence[tuple[str, str]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["prompt", "response"]).slice(0, REAL_TEXTS).to_pylist()
    return [(row["prompt"], row["response"]) for row in rows]


@final
@dataclass(frozen=True, slots=True)
class RealTexts:
    """Prompts and responses; each time they come again, all their words are others."""

    real: Sequence[tuple[str, str]]

    def __call__(self, number: int) -> tuple[str, str]:
        """Return the prompt and the response of an example."""
        turn, at = divmod(number, len(self.real))
        prompt, response = self.real[at]
        if not turn:
            return prompt, response
        return prompt.replace(" ", f"{turn} "), response.replace(" ", f"{turn} ")


# What the children run ---------------------------------------------------------------------------


def write_store(path: Path, n: int, texts: RealTexts) -> int:
    """Write the pool, its score sets with random values, and two selections; return its characters."""
    from curate.contracts.progress import SilentProgress
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.select.run import select
    from curate.store import ScoreKey, Store

    n_chars = 0

    def counted(number: int) -> tuple[str, str]:
        nonlocal n_chars
        both = texts(number)
        n_chars += sum(map(len, both))
        return both

    write_texts(path, n, counted)
    store = Store(path)
    for seed, scorer in enumerate(SCORERS):
        score_set = store.score_set(ScoreKey(scorer, 1, {}), scorer, {"key": {"config": {}}})
        write_random_parts(store, score_set, seed)
        store.commit_parts(score_set, [shard.shard_id for shard in store.shards()])
        store.finish(score_set)
    for method, settings in (("top-k", {"rank": RANK}), ("random", {})):
        select(store, SelectOptions(method, "10%", settings), ScoringOptions(), SilentProgress())
    return n_chars


def write_page(path: Path) -> Spent:
    """Write the report as ``curate report`` does; return what it took, first imports included."""
    from curate.store import Store
    from curate.views.report.build import ReportOptions, write_report

    with stopwatch() as spent:
        write_report(Store(path, create=False), path.with_name("report.html"), ReportOptions())
    return spent
