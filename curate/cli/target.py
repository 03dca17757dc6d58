"""Add, list or remove target sets: examples to select towards, which never enter the pool."""

from dataclasses import asdict
from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.target import TargetCommand
from curate.api.pool import Pool
from curate.cli.console import confirmed, emit, progress, table
from curate.cli.options import from_options
from curate.errors import ConfigError


@from_options(TargetCommand)
def command(options: TargetCommand, shell: Shell) -> None:
    """Do what the action says; print what came of it."""
    options.check()
    with progress(shell.quiet) as shown:
        pool = Pool(shell.store, create=False, progress=shown)
        if options.action == "add":
            document = options.add(pool).as_dict()
            text = _added(document)
    if options.action == "list":
        document = {"targets": [asdict(target) for target in pool.store.targets()]}
        text = _listed(document["targets"])
    elif options.action == "remove":
        assert options.name is not None
        pool.store.target_set(options.name)  # an unknown name fails before anybody is asked
        deed = f"remove target set {options.name!r}"
        if not (options.yes or confirmed(deed, " with its texts and scores")):
            raise ConfigError(f"target set {options.name!r} is kept")
        pool.target.remove(options.name)
        document, text = {"removed": options.name}, f"removed target set {options.name}"
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else text)


def _added(d: dict[str, Any]) -> str:
    again = " (already in the store)" if d["reused"] else ""
    return (
        f"target set {d['name']}: {d['n_rows']:,} rows, {d['n_examples']:,} examples; "
        f"{d['n_in_pool']:,} of them are in the pool of {d['n_pool']:,}{again}"
    )


def _listed(targets: list[dict[str, Any]]) -> str:
    if not targets:
        return "no target sets; add one with: curate target add NAME DATA"
    columns = ("name", "n_examples", "n_in_pool", "content_hash", "data")
    return table(columns, [[target[c] for c in columns] for target in targets], "target sets")
