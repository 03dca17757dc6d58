"""Explore the pool, its scores and selections in your browser, and mark examples."""

import typer

from curate.api.commands.groups import Shell
from curate.api.commands.others import ExploreCommand
from curate.cli.console import emit
from curate.cli.options import from_options
from curate.views.atlas import atlas, show
from curate.views.explore.serving import open_browser, prepare


@from_options(ExploreCommand)
def command(options: ExploreCommand, shell: Shell) -> None:
    """Serve the page until it is stopped."""
    if options.atlas:
        _show_atlas(options, shell)
        return
    served = prepare(shell.store, options.port, options.marker)
    document = {
        "url": served.url, "port": served.port, "store": str(shell.store),
        "n_examples": served.n_examples, "marker": served.marker,
    }  # fmt: skip
    emit(
        document, shell.as_json, f"{served.n_examples:,} examples in {shell.store}:\n{served.url}\n"
        "Only this machine can open it. Press Ctrl-C to stop.",
    )  # fmt: skip
    if options.browser and not open_browser(served.url) and not shell.quiet:
        typer.echo("no browser found; open the address above yourself", err=True)
    served.run()


def _show_atlas(options: ExploreCommand, shell: Shell) -> None:
    from curate.store import Store

    with atlas(Store(shell.store, create=False), options.port) as words:
        emit(
            {"store": str(shell.store), "command": words}, shell.as_json,
            f"{shell.store} in embedding-atlas. Press Ctrl-C to stop.",
        )  # fmt: skip
        if code := show(words):
            raise typer.Exit(code)
