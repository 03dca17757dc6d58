"""Import scores made elsewhere as a score set."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.import_scores import ImportScoresCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress
from curate.cli.options import from_options


@from_options(ImportScoresCommand)
def command(options: ImportScoresCommand, shell: Shell) -> None:
    """Import the scores; print the score set."""
    with progress(shell.quiet) as shown:
        report = options.run(Pool(shell.store, create=False, progress=shown))
    document = report.as_dict()
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else _text(document))


def _text(d: dict[str, Any]) -> str:
    known = " (stored before)" if d["reused"] else ""
    columns = " ".join(f"{d['alias']}.{name}" for name in d["columns"])
    return f"score set {d['set_id']}{known}: {columns}"
