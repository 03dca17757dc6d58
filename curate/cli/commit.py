"""Take the scores of slices and stopped runs into the store."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.others import CommitCommand
from curate.api.pool import Pool
from curate.cli.console import emit, table
from curate.cli.options import from_options


@from_options(CommitCommand)
def command(options: CommitCommand, shell: Shell) -> None:
    """Commit what has arrived; print each score set, and what is said of slices."""
    document = Pool(shell.store, create=False).commit(options.parts).as_dict()
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else _text(document))


def _text(d: dict[str, Any]) -> str:
    columns = ["set_id", "alias", "n_committed", "n_done", "n_shards"]
    headings = ["score set", "alias", "shards came in", "has", "of"]
    rows = [[made[c] for c in columns] for made in d["score_sets"]]
    shown = [table(headings, rows)] if rows else ["nothing has arrived that was not in the store"]
    return "\n".join([*shown, *d["notes"]])
