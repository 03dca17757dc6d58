"""Explore the pool, its scores and selections in your browser, and mark examples."""

from typing import Annotated

import typer

from curate.cli.console import emit
from curate.cli.options import DEFAULT_STORE, Json, Quiet, Store, Verbose, configure_logging


def command(
    port: Annotated[int, typer.Option("--port", help="Local port to serve on. Default: any free port.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    marker: Annotated[str | None, typer.Option("--marker", metavar="NAME", help="Whose marks to store, in the selections marked-in-NAME and marked-out-NAME. Default: your login name.")] = None,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Explore the pool, its scores and selections in your browser, and mark examples."""
    configure_logging(verbose)
    from curate.views.explore.serving import open_browser, prepare

    served = prepare(store, port, marker)
    document = {
        "url": served.url, "port": served.port, "store": str(store),
        "n_examples": served.n_examples, "marker": served.marker,
    }  # fmt: skip
    emit(
        document, as_json, f"{served.n_examples:,} examples in {store}:\n{served.url}\n"
        "Only this machine can open it. Press Ctrl-C to stop.",
    )  # fmt: skip
    if browser and not open_browser(served.url) and not quiet:
        typer.echo("no browser found; open the address above yourself", err=True)
    served.run()
