"""Run everything offline, on a generated pool with planted errors and a tiny model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.console import emit, progress, table
from curate.cli.options import Json, Quiet, Seed, Verbose, configure_logging
from curate.cli.prove import comparison_tables


def command(
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder for the pool, the store and the subsets.")
    ] = Path("curate-demo"),
    everything: Annotated[
        bool, typer.Option("--all", help="Prove every method, including the slow ones.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run everything offline, on a generated pool with planted errors and a tiny model."""
    configure_logging(verbose)
    from curate.demo.run import run_demo

    with progress(quiet) as shown:
        report = run_demo(folder, seed, shown, everything=everything)
    emit(report, as_json, "" if quiet and not as_json else _text(report))


def _text(report: dict[str, Any]) -> str:
    kept = report["kept"]
    columns = list(kept[0])
    rows = [[_shown(column, row[column]) for column in columns] for row in kept]
    proof = report["proof"]
    budget, tokens = next(iter(proof["plan"]["max_tokens"].items()))
    title = f"what each method kept, of {report['n_examples']:,} examples"
    lines = [
        table([column.replace("_", " ") for column in columns], rows, title),
        *(f"{name}: {path}" for name, path in report["outputs"].items()),
        "",
        f"trained on {budget} examples of each method, {tokens:,} tokens, {proof['seeds']} seeds:",
        *comparison_tables(proof),
        "",
        *(f"not proved: {name}; {why}" for name, why in report["left_out"].items()),
        f"full proof, with costs: {report['page']}",
        f"took {report['wall_s']:.0f} s; next: curate status --store {report['store']}",
    ]
    return "\n".join(lines)


def _shown(column: str, value: object) -> object:
    return f"{value:.1%}" if isinstance(value, float) and column.endswith("share") else value
