"""Delete examples from the pool for good: texts, raw rows and scores."""

from typing import Annotated

import typer

from curate.cli.console import emit
from curate.cli.options import DEFAULT_STORE, DryRun, Json, Quiet, Store, Verbose, configure_logging


def command(
    where: Annotated[
        str,
        typer.Option(
            "--where", help="Expression that picks the examples, as in \"source = 'leaked'\"."
        ),
    ],
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Delete examples from the pool for good: texts, raw rows and scores."""
    configure_logging(verbose)
    from curate.store import Store as OpenStore

    found = OpenStore(store, create=False).forget(where, dry_run=dry_run)
    verb = "would forget" if dry_run else "forgot"
    text = f"{verb} {found['n_examples']:,} examples ({found['n_rows']:,} rows)"
    emit(found, as_json, "" if quiet and not as_json else text)
