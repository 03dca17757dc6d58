"""Show what the store holds: datasets, score sets, selections, sizes."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.others import StatusCommand
from curate.cli.console import emit, table
from curate.cli.options import from_options


@from_options(StatusCommand)
def command(options: StatusCommand, shell: Shell) -> None:
    """Print what the store holds."""
    del options  # it has none of its own
    from curate.store import Store

    status = Store(shell.store, create=False).status()
    emit(status, shell.as_json, "" if shell.quiet and not shell.as_json else _text(status))


def _text(status: dict[str, Any]) -> str:
    parts = [
        (
            f"{status['store']}: {status['n_examples']:,} examples, {status['n_rows']:,} rows, "
            f"{status['n_groups']:,} instructions, {sum(status['bytes'].values()) / 2**20:,.1f} MiB"
        )
    ]
    for title, columns, rows in (
        ("datasets", ("dataset_id", "name", "format", "n_rows"), status["datasets"]),
        (
            "score sets",
            (
                "set_id",
                "alias",
                "scorer",
                "model",
                "n_examples",
                "n_failed",
                "complete",
                "content_hash",
            ),
            status["score_sets"],
        ),
        (
            "selections",
            ("selection_id", "method", "budget", "seed", "n_selected", "created_at"),
            status["selections"],
        ),
        (
            "target sets",
            ("name", "n_examples", "n_in_pool", "content_hash", "data"),
            status["targets"],
        ),
    ):
        rows = [{**row, "model": _model(row)} for row in rows]
        if rows:
            parts.append(table(columns, [[row.get(c) for c in columns] for row in rows], title))
    return "\n\n".join(parts)


def _model(row: dict[str, Any]) -> str | None:
    """Return the model a score set was computed with; datasets and selections have none."""
    return row["spec"]["run"].get("model") if "spec" in row else None
