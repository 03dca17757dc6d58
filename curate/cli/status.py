"""Show what the store holds: datasets, score sets, selections, sizes."""

from pathlib import PurePath
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
            ("set_id", "alias", "model", "scored", "failed", "complete"),
            _score_sets(status["score_sets"]),
        ),
        (
            "selections",
            ("selection_id", "method", "budget", "seed", "selected", "created (UTC)"),
            [
                {**row, "selected": row["n_selected"], "created (UTC)": _minute(row["created_at"])}
                for row in status["selections"]
            ],
        ),
        (
            "target sets",
            ("name", "n_examples", "n_in_pool", "content_hash", "data"),
            status["targets"],
        ),
    ):
        if rows:
            parts.append(table(columns, [[row.get(c) for c in columns] for row in rows], title))
    return "\n\n".join(parts)


def _score_sets(statuses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    models = short_paths([_model(row) for row in statuses])
    return [
        {
            **row, "alias": ", ".join(row["aliases"]), "model": model,
            "scored": row["n_examples"] - row["n_failed"], "failed": row["n_failed"],
        }
        for row, model in zip(statuses, models, strict=True)
    ]  # fmt: skip


def short_paths(names: list[str | None]) -> list[str | None]:
    """Return absolute paths by their last parts, as many as tell them apart; other names as they are.

    Examples
    --------
    >>> short_paths(["/runs/a/last", "/runs/b/last", "org/model", None])
    ['a/last', 'b/last', 'org/model', None]
    """
    paths = {name: PurePath(name).parts for name in names if name and PurePath(name).is_absolute()}
    shown = {}
    for name, pieces in paths.items():
        n = 1
        while n < len(pieces) and any(
            other != name and theirs[-n:] == pieces[-n:] for other, theirs in paths.items()
        ):
            n += 1
        shown[name] = str(PurePath(*pieces[-n:]))
    return [name if name is None else shown.get(name, name) for name in names]


def _minute(moment: str) -> str:
    """Return the time of an ISO date to the minute."""
    return moment[:16].replace("T", " ")


def _model(row: dict[str, Any]) -> str | None:
    """Return the model a score set was computed with; datasets and selections have none."""
    return row["spec"]["run"].get("model") if "spec" in row else None
