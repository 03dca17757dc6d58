"""Remove what nothing refers to: unfinished work, old caches, orphaned parts."""

from curate.cli.console import emit
from curate.cli.options import DEFAULT_STORE, DryRun, Json, Quiet, Store, Verbose, configure_logging


def command(
    store: Store = DEFAULT_STORE,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Remove what nothing refers to: unfinished work, old caches, orphaned parts."""
    configure_logging(verbose)
    from curate.store import Store as OpenStore

    found = OpenStore(store, create=False).gc(dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    text = f"{verb} {found['n_paths']:,} files and folders, {found['bytes'] / 2**20:,.1f} MiB"
    emit(found, as_json, "" if quiet and not as_json else text)
