"""Remove what nothing refers to: unfinished work, old caches, orphaned parts."""

from curate.api.commands.groups import Shell
from curate.api.commands.others import GcCommand
from curate.cli.console import emit
from curate.cli.options import from_options


@from_options(GcCommand)
def command(options: GcCommand, shell: Shell) -> None:
    """Remove it, or say what would be removed."""
    from curate.store import Store

    report = Store(shell.store, create=False).gc(dry_run=options.dry_run)
    verb = "would remove" if options.dry_run else "removed"
    text = f"{verb} {report['n_paths']:,} files and folders, {report['bytes'] / 2**20:,.1f} MiB"
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else text)
