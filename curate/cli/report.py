"""Write a self-contained report of the pool, its scores and selections, or of a proof."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.report import ReportCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress
from curate.cli.options import from_options


@from_options(ReportCommand)
def command(options: ReportCommand, shell: Shell) -> None:
    """Write the page; print where it is and what it warns of."""
    with progress(shell.quiet) as shown:
        pool = Pool(shell.store, create=False, progress=shown) if options.needs_store else None
        document = options.write(pool, shown)
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else _text(document))


def _text(d: dict[str, Any]) -> str:
    warnings = [
        f"warning: {warning['text']}" for warning in d["warnings"] if warning["level"] == "warning"
    ]
    size = f"{d['bytes'] / 1e6:.1f} MB" if d["bytes"] >= 1e5 else f"{d['bytes']:,} bytes"
    return "\n".join([f"wrote {d['output']} ({size}, {d['wall_s']:.1f} s)", *warnings])
