"""Reproduce an exported subset from its manifest and compare it byte for byte."""

import typer

from curate.api.commands.groups import Shell
from curate.api.commands.others import ReproduceCommand
from curate.cli.console import emit, progress
from curate.cli.options import from_options


@from_options(ReproduceCommand)
def command(options: ReproduceCommand, shell: Shell) -> None:
    """Select and export again; print whether the rows are the same, and exit with 1 if not."""
    from curate.api.reproduce import reproduce

    with progress(shell.quiet) as shown:
        report = reproduce(
            options.manifest,
            store=options.store,
            output=options.output,
            overwrite=options.overwrite,
            rescore=options.rescore,
            workers=options.workers,
            progress=shown,
        )
    verdict = "identical" if report["identical"] else "different"
    lines = [f"{report['output']}: {report['n_rows']:,} rows, {verdict}", *report["differences"]]
    emit(report, shell.as_json, "\n".join(lines))
    if not report["identical"]:
        raise typer.Exit(1)
