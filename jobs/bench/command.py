"""The command line: which figures to measure, how large, where the reports go."""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from jobs.bench import (
    adapter,
    copies,
    diversity,
    exploring,
    growth,
    indicators,
    kernel,
    large,
    literal,
    memory,
    methods_growth,
    nearest,
    prefixes,
    rendering,
    report,
    reporting,
    scale_out,
    scripts,
    shards,
    startup,
    store_growth,
    stored,
    towards,
    trainers,
    training,
    uses_growth,
)
from jobs.bench.children import fork_children
from jobs.bench.figure import FULL, QUICK, Bench, Figure, Sizes
from jobs.bench.inputs import Inputs
from jobs.bench.machine import ROOT, facts
from jobs.bench.profiling import Profiler

FIGURES: Final[Mapping[str, Callable[[Bench], Figure]]] = {
    "one-pass-4k": kernel.small_vocabulary,
    "one-pass-32k": kernel.large_vocabulary,
    "donod": kernel.with_donod,
    "donod-step": literal.donod_step,
    "loops": kernel.against_loops,
    "score-sorted": scripts.sorted_loop,
    "score-padded-4": scripts.padded_by_four,
    "score-padded-8": scripts.padded_by_eight,
    "score-one-row": scripts.one_row,
    "shared-prefix": prefixes.shared_prefix,
    "render-one-turn": rendering.one_turn,
    "render-four-turns": rendering.four_turns,
    "ingest": stored.ingest,
    "commit": stored.commit,
    "top-k": stored.top_k,
    "group-top-k": stored.group_top_k,
    "report": reporting.report,
    "explore-start": exploring.start,
    "explore-answer": exploring.answer,
    "explore-why-not": exploring.why_not,
    "train": training.loop,
    "train-trainer": trainers.against_trainer,
    "train-trl": trainers.against_trl,
    "trajectory": training.trajectory,
    "s2l": training.s2l,
    "k-means": training.kmeans,
    "kmq": diversity.kmq,
    "mig": diversity.mig,
    "unieval": indicators.unieval,
    "knn": indicators.knn,
    "near-duplicate": copies.near_duplicate,
    "contamination": copies.contamination,
    "nearest-kept": nearest.nearest_kept,
    "deita-filter": nearest.deita_filter,
    "rds-plus": towards.rds_plus,
    "got-d": towards.got_d,
    "less": adapter.less,
    "near-duplicates-growth": growth.near_duplicates,
    "contamination-growth": growth.contamination,
    "mig-growth": growth.mig,
    "k-nearest-growth": growth.k_nearest,
    "rds-plus-growth": growth.rds_plus,
    "ray-workers": scale_out.ray_workers,
    "memory": memory.scoring_memory,
    "help": startup.help_time,
    "import": startup.import_time,
    "two-workers": shards.two_workers,
    "shard-overhead": shards.overhead,
    "commit-of-16": shards.commit_of_many,
    "top-k-10m": large.top_k,
    "group-top-k-10m": large.group_top_k,
    "memory-10m": large.methods,
    "ingest-memory": large.ingest_memory,
    "shards-growth": shards.growth,
    "select-growth": store_growth.selections,
    "ingest-growth": store_growth.ingests,
    "selectors-growth": methods_growth.methods,
    "uses-growth": uses_growth.uses,
}
LARGE: Final = (
    "top-k-10m", "group-top-k-10m", "memory-10m", "ingest-memory", "shards-growth", "select-growth",
    "ingest-growth", "selectors-growth", "uses-growth",
)  # fmt: skip
"""Figures that take 10 GB of disk and half an hour: at full size only those that ``--only`` names."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0 whatever the figures say, because they are not a test."""
    parser = _parser()
    options = parser.parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    console = Console(width=None if os.isatty(1) else 160)
    machine = facts()
    sizes = QUICK if options.quick else FULL
    out = Path(options.out)
    earlier = _earlier(out, sizes, parser) if options.keep else None
    if options.quick:
        fork_children()
    with tempfile.TemporaryDirectory(prefix="curate-bench-") as work:
        inputs = Inputs(Path(work))
        if options.profile:
            path = profile(options.profile, sizes, inputs, out)
            console.print(f"wrote {path}", highlight=False)
            return 0
        bench = Bench(sizes, inputs, None, out, options.keep, machine)
        unasked = () if options.quick else LARGE
        names = options.only or [name for name in FIGURES if name not in unasked]
        figures = []
        for name in names:
            console.print(f"measuring {name}", highlight=False)
            figures.append(FIGURES[name](bench))
            notes = [*_about(sizes), *inputs.notes]
            made = report.Report(figures, machine, notes, {})
            if earlier is not None and options.only:
                made = earlier.with_later(figures, machine, notes)
            elif earlier is not None:
                made = made.with_earlier(earlier)
            report.write(made, out)  # a run that is stopped keeps its figures
    report.show(figures, notes, console)
    console.print(f"wrote {out / 'bench.md'} and {report.JSON}", highlight=False, soft_wrap=True)
    return 0


def profile(name: str, sizes: Sizes, inputs: Inputs, folder: Path) -> Path:
    """Write where the time of our side of one figure goes; return the file."""
    profiler = Profiler()
    figure = FIGURES[name](Bench(sizes, inputs, profiler))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"profile-{name}.txt"
    head = (
        f"{figure.name}: {figure.reference}\n{figure.detail}\nprofiled, so slower than measured\n"
    )
    path.write_text(f"{head}\n{profiler.text()}", encoding="utf-8")
    return path


def _about(sizes: Sizes) -> list[str]:
    runs = "run" if sizes.runs == 1 else "interleaved runs"
    first = f"ratios are medians of {sizes.runs} {runs} in one process, other figures of "
    lines = [f"{first}{sizes.repeats} in processes of their own (start-up: {sizes.runs})"]
    if sizes is QUICK:
        lines.append(report.QUICK_NOTE)
    return lines


def _earlier(out: Path, sizes: Sizes, parser: argparse.ArgumentParser) -> report.Report:
    """Return the report whose other figures are kept; end the program where they do not fit ours."""
    try:
        earlier = report.Report.read(out)
    except FileNotFoundError:
        parser.error(f"there is no {out / report.JSON} to keep figures of; leave out --keep")
    if (report.QUICK_NOTE in earlier.notes) != (sizes is QUICK):
        parser.error(
            f"{out / report.JSON} was measured at other sizes, and one report has one of them; name "
            "another folder with --out"
        )
    return earlier


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python jobs/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run: a try-out")
    parser.add_argument(
        "--only",
        action="append",
        choices=FIGURES,
        metavar="NAME",
        help=f"this figure; repeatable; {', '.join(LARGE)} take 10 GB of disk and are measured only so",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the other figures of the report in that folder"
    )
    parser.add_argument(
        "--out", default=str(ROOT / "reports"), metavar="DIR", help="folder of the reports"
    )
    parser.add_argument(
        "--profile", choices=FIGURES, metavar="NAME", help="write profile-NAME.txt instead"
    )
    return parser
