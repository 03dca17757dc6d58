"""Reproduce an exported subset from its manifest and compare it byte for byte."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.console import emit, progress
from curate.cli.options import Json, Quiet, Verbose, Workers, configure_logging


def command(
    manifest: Annotated[Path, typer.Argument(help="The *.manifest.json beside an export.")],
    store: Annotated[
        Path | None, typer.Option("--store", help="The store; default: the one the manifest names.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the reproduced rows to this file.")
    ] = None,
    rescore: Annotated[
        bool,
        typer.Option("--rescore", help="Recompute the scores and list the examples that flipped."),
    ] = False,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Reproduce an exported subset from its manifest and compare it byte for byte."""
    configure_logging(verbose)
    from curate.api.reproduce import reproduce

    with progress(quiet) as shown:
        report = reproduce(
            manifest, store=store, output=output, rescore=rescore, workers=workers, progress=shown
        )
    verdict = "identical" if report["identical"] else "different"
    lines = [f"{report['output']}: {report['n_rows']:,} rows, {verdict}", *report["differences"]]
    emit(report, as_json, "\n".join(lines))
    if not report["identical"]:
        raise typer.Exit(1)
