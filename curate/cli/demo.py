"""Run everything, offline, on a generated pool with planted errors and a tiny model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.console import emit, progress, table
from curate.cli.options import Json, Quiet, Seed, Verbose, configure_logging


def command(
    folder: Annotated[
        Path, typer.Option("--dir", help="Where the pool, the store and the subsets go.")
    ] = Path("curate-demo"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run everything, offline, on a generated pool with planted errors and a tiny model."""
    configure_logging(verbose)
    from curate.demo.run import run_demo

    with progress(quiet) as shown:
        report = run_demo(folder, seed, shown)
    emit(report, as_json, "" if quiet and not as_json else _text(report))


def _text(report: dict[str, Any]) -> str:
    kept = report["kept"]
    columns = list(kept[0])
    rows = [[_shown(column, row[column]) for column in columns] for row in kept]
    title = f"what each method kept, of {report['n_examples']:,} examples"
    lines = [
        table([column.replace("_", " ") for column in columns], rows, title),
        *(f"{name}: {path}" for name, path in report["outputs"].items()),
        f"took {report['wall_s']:.0f} s; look further: curate status --store {report['store']}",
    ]
    return "\n".join(lines)


def _shown(column: str, value: object) -> object:
    return f"{value:.1%}" if isinstance(value, float) and column.endswith("share") else value
