"""Look at the pool, its scores and selections on a page in your browser, and mark examples."""

from typing import Annotated

import typer

from curate.cli.console import emit
from curate.cli.options import DEFAULT_STORE, Json, Quiet, Store, Verbose, configure_logging


def command(
    port: Annotated[int, typer.Option("--port", help="Port of this machine to serve on. Default: any free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    marker: Annotated[str | None, typer.Option("--marker", metavar="NAME", help="Who marks. Marks are the selections marked-in-NAME and marked-out-NAME. Default: your login name.")] = None,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Look at the pool, its scores and selections on a page in your browser, and mark examples."""
    configure_logging(verbose)
    from curate.views.explore.serving import open_browser, prepare

    served = prepare(store, port, marker)
    document = {
        "url": served.url, "port": served.port, "store": str(store),
        "n_examples": served.n_examples, "marker": served.marker,
    }  # fmt: skip
    emit(
        document, as_json, f"{served.n_examples:,} examples of {store}, at:\n{served.url}\n"
        "Only this machine can open it. Ctrl-C ends it.",
    )  # fmt: skip
    if browser and not open_browser(served.url) and not quiet:
        typer.echo("no browser found here; open the address above in one", err=True)
    served.run()
