"""Delete examples from the pool for good: texts, raw rows and scores."""

from curate.api.commands.groups import Shell
from curate.api.commands.others import ForgetCommand
from curate.cli.console import confirmed, emit
from curate.cli.options import from_options
from curate.contracts.display import counted
from curate.errors import ConfigError


@from_options(ForgetCommand)
def command(options: ForgetCommand, shell: Shell) -> None:
    """Forget the examples, asking first, or say how many would be forgotten."""
    from curate.store import Store

    store = Store(shell.store, create=False)
    report = store.forget(options.where, dry_run=True)
    what = f"{counted(report['n_examples'], 'example')} ({counted(report['n_rows'], 'row')})"
    if report["n_examples"] and not options.dry_run:
        lost = ""
        if report["n_selected"]:
            times = counted(report["n_selected"], "time")
            lost = f", named {times} by selections that cannot be reproduced then"
        if not (options.yes or confirmed(f"forget {what}", lost)):
            raise ConfigError(f"{what} are kept")
    if not options.dry_run:
        report = store.forget(options.where)
    text = f"{'would forget' if options.dry_run else 'forgot'} {what}"
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else text)
