"""List, rename or delete selections."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.others import SelectionsCommand
from curate.api.pool import Pool
from curate.cli.console import confirmed, emit
from curate.cli.options import from_options
from curate.cli.status import selections_table
from curate.errors import ConfigError


@from_options(SelectionsCommand)
def command(options: SelectionsCommand, shell: Shell) -> None:
    """Do what the action says; print what came of it."""
    options.check()
    store = Pool(shell.store, create=False).store
    document: dict[str, Any]
    if options.action == "list":
        listed = store.status()["selections"]
        document = {
            "selections": [row for row in listed if options.everything or not row["internal"]]
        }
        text = selections_table(listed, everything=options.everything)
        text = text or "no selections; make one with: curate select"
    else:
        assert options.selection is not None
        record = store.selection(options.selection)
        known = f"{record['selection_id']} ({record['method']}, {record['n_selected']:,} examples)"
        if options.action == "rename":
            store.keep_selection(record["selection_id"], options.name)
            document = {"renamed": record["selection_id"], "name": options.name}
            text = f"selection {known} is now {options.name}"
        else:
            if not (options.yes or confirmed(f"delete selection {known}")):
                raise ConfigError(f"selection {known} is kept")
            document = {"deleted": store.delete_selection(record["selection_id"])}
            text = f"deleted selection {known}"
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else text)
