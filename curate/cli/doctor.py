"""Check the installation and the store; report what is wrong and how to fix it."""

from typing import Annotated

import typer

from curate.cli.console import emit, table
from curate.cli.options import DEFAULT_STORE, Json, Store, Verbose, configure_logging


def command(
    store: Store = DEFAULT_STORE,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Rebuild the DuckDB file from the parts beside it.")
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check the installation and the store; report what is wrong and how to fix it."""
    configure_logging(verbose)
    from curate.api.doctor import diagnose, rebuild_store

    if rebuild:
        report = rebuild_store(store)
        emit(report, as_json, f"rebuilt {store}: {report['n_examples']:,} examples, "
             f"{report['n_score_sets']} score sets, {report['n_selections']} selections")  # fmt: skip
        return
    findings = diagnose(store)
    document = {"ok": all(f["level"] != "error" for f in findings), "findings": findings}
    rows = [(f["level"], f["what"], f["found"], f["advice"]) for f in findings]
    emit(document, as_json, table(("", "check", "found", "what to do"), rows))
    if not document["ok"]:
        raise typer.Exit(1)
