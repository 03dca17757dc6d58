"""Check the installation and the store; report what is wrong and how to fix it."""

import typer

from curate.api.commands.groups import Shell
from curate.api.commands.others import DoctorCommand
from curate.api.doctor import diagnose, rebuild_store
from curate.cli.console import emit, table
from curate.cli.options import from_options


@from_options(DoctorCommand)
def command(options: DoctorCommand, shell: Shell) -> None:
    """Print the findings; exit with 1 if one is an error."""
    if options.rebuild:
        report = rebuild_store(shell.store)
        text = (
            f"rebuilt {shell.store}: {report['n_examples']:,} examples, "
            f"{report['n_score_sets']} score sets, {report['n_selections']} selections"
        )
        damaged = [f"left out, for it cannot be read: {path}" for path in report["left_out"]]
        emit(report, shell.as_json, "\n".join([text, *damaged]))
        return
    findings = diagnose(shell.store, deep=options.deep)
    document = {"ok": all(f["level"] != "error" for f in findings), "findings": findings}
    rows = [(f["level"], f["what"], f["found"], f["advice"]) for f in findings]
    emit(document, shell.as_json, table(("", "check", "found", "what to do"), rows))
    if not document["ok"]:
        raise typer.Exit(1)
