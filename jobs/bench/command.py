"""The command line: which figures to measure, how large, where the reports go."""

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from jobs.bench import (
    copies,
    diversity,
    exploring,
    indicators,
    kernel,
    literal,
    memory,
    rendering,
    report,
    startup,
    stored,
    training,
)
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
    "render-one-turn": rendering.one_turn,
    "render-four-turns": rendering.four_turns,
    "ingest": stored.ingest,
    "commit": stored.commit,
    "top-k": stored.top_k,
    "group-top-k": stored.group_top_k,
    "explore-start": exploring.start,
    "explore-answer": exploring.answer,
    "train": training.loop,
    "trajectory": training.trajectory,
    "s2l": training.s2l,
    "k-means": training.kmeans,
    "kmq": diversity.kmq,
    "unieval": indicators.unieval,
    "knn": indicators.knn,
    "near-duplicate": copies.near_duplicate,
    "contamination": copies.contamination,
    "memory": memory.scoring_memory,
    "help": startup.help_time,
    "import": startup.import_time,
}


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0 whatever the figures say, because they are not a test."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    console = Console(width=None if os.isatty(1) else 160)
    machine = facts()
    sizes = QUICK if options.quick else FULL
    out = Path(options.out)
    with tempfile.TemporaryDirectory(prefix="curate-bench-") as work:
        inputs = Inputs(Path(work))
        if options.profile:
            path = profile(options.profile, sizes, inputs, out)
            console.print(f"wrote {path}", highlight=False)
            return 0
        bench = Bench(sizes, inputs)
        names = options.only or list(FIGURES)
        figures = []
        for name in names:
            console.print(f"measuring {name}", highlight=False)
            figures.append(FIGURES[name](bench))
            notes = [*_about(sizes), *inputs.notes]
            report.write(figures, machine, notes, out)  # a run that is stopped keeps its figures
    report.show(figures, console)
    for line in (*notes, report.summary(figures), f"wrote {out / 'bench.md'} and bench.json"):
        console.print(line, highlight=False, markup=False)
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
        lines.append("quick sizes: these numbers show that the benchmark runs, and nothing else")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python jobs/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run: a try-out")
    parser.add_argument(
        "--only", action="append", choices=FIGURES, metavar="NAME", help="this figure; repeatable"
    )
    parser.add_argument(
        "--out", default=str(ROOT / "reports"), metavar="DIR", help="folder of the reports"
    )
    parser.add_argument(
        "--profile", choices=FIGURES, metavar="NAME", help="write profile-NAME.txt instead"
    )
    return parser
