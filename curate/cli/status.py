"""Show what the store holds: datasets, score sets, selections, sizes."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from curate.api.commands.groups import Shell
from curate.api.commands.others import StatusCommand
from curate.cli.console import emit, table
from curate.cli.options import from_options
from curate.cli.watch import watch, workers_table

# Columns of each table: heading, and the key of `Store.status`.
_DATASETS: Final = {"dataset": "dataset_id", "name": "name", "format": "format", "rows": "n_rows"}
_SCORE_SETS: Final = {
    "score set": "set_id", "alias": "alias", "model": "model", "scored": "scored",
    "failed": "n_failed", "state": "state",
}  # fmt: skip
_SELECTIONS: Final = {
    "selection": "selection_id", "name": "name", "method": "method", "budget": "budget", "seed": "seed",
    "selected": "n_selected", "created (UTC)": "created_at",
}  # fmt: skip
_TARGETS: Final = {
    "name": "name", "examples": "n_examples", "in the pool": "n_in_pool",
    "content hash": "content_hash", "data": "data",
}  # fmt: skip


@from_options(StatusCommand)
def command(options: StatusCommand, shell: Shell) -> None:
    """Print what the store holds, or how far scoring is."""
    from curate.scoring.watching import kept_of_shards
    from curate.store import Store

    store = Store(shell.store, create=False)
    if options.watch:
        watch(store, as_json=shell.as_json)
        return
    status = store.status()
    text = _text(status, kept_of_shards(store), workers=shell.verbose)
    emit(status, shell.as_json, "" if shell.quiet and not shell.as_json else text)


def _text(status: dict[str, Any], kept: Mapping[str, int], *, workers: bool = False) -> str:
    head = (
        f"{status['store']}: {status['n_examples']:,} examples, {status['n_rows']:,} rows, "
        f"{status['n_groups']:,} instructions, {sum(status['bytes'].values()) / 2**20:,.1f} MiB"
    )
    stale = [row for row in status["score_sets"] if row["stale"]]
    current = [row for row in status["score_sets"] if not row["stale"]]
    tables = (
        ("datasets", _DATASETS, status["datasets"]),
        ("score sets", _SCORE_SETS, _score_sets(current, status["n_examples"], kept)),
        (
            "score sets of an earlier pool, read only by their id",
            _SCORE_SETS,
            _score_sets(stale, status["n_examples"], kept),
        ),
    )
    drawn = [_drawn(title, columns, rows) for title, columns, rows in tables if rows]
    drawn.append(selections_table(status["selections"]))
    if status["targets"]:
        drawn.append(_drawn("target sets", _TARGETS, status["targets"]))
    if workers and status["workers"]:
        drawn.append(workers_table(status["workers"]))
    return "\n\n".join([head, *filter(None, drawn)])


def selections_table(rows: Sequence[Mapping[str, Any]], *, everything: bool = False) -> str:
    """Draw the selections people asked for, or all of them; "" if there are none."""
    shown = [row for row in rows if everything or not row["internal"]]
    columns = dict(_SELECTIONS)
    if not any(row["name"] for row in shown):
        del columns["name"]
    n_hidden = len(rows) - len(shown)
    hidden = f"{n_hidden:,} more of proofs and procedures: curate selections --all"
    drawn = [_drawn("selections", columns, shown)] if shown else []
    return "\n".join([*drawn, *([hidden] if n_hidden else [])])


def _drawn(title: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [_minute(row[key]) if key == "created_at" else row[key] for key in columns.values()]
        for row in rows
    ]
    return table(list(columns), cells, title)


def _score_sets(
    statuses: list[dict[str, Any]], n_pool: int, kept: Mapping[str, int]
) -> list[dict[str, Any]]:
    models = short_paths([_model(row) for row in statuses])
    return [
        {
            **row, "alias": ", ".join(row["aliases"]), "model": model,
            "scored": row["n_examples"] - row["n_failed"],
            "state": _state(row, n_pool, kept.get(row["set_id"], 0)),
        }
        for row, model in zip(statuses, models, strict=True)
    ]  # fmt: skip


def _state(row: Mapping[str, Any], n_pool: int, n_kept: int = 0) -> str:
    """Say how far a score set is; one that is not complete is shown with its share of the pool.

    ``n_kept``: the examples, about, that are kept of shards a run has left unfinished. They count.
    """
    if row["complete"]:
        return "complete"
    if row["stale"]:
        return "the pool changed since"
    n_done = min(row["n_examples"] + n_kept, n_pool)
    percent = 100 * n_done // max(n_pool, 1)  # rounded down: 100% would be all of it
    part = f"{percent}%, {n_done:,} of {n_pool:,}"
    return f"partial: {part}" if row["partial"] else f"unfinished: {part}"


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
