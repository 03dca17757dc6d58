"""Delete examples from the pool for good: texts, raw rows and scores."""

from curate.api.commands.groups import Shell
from curate.api.commands.others import ForgetCommand
from curate.cli.console import emit
from curate.cli.options import from_options


@from_options(ForgetCommand)
def command(options: ForgetCommand, shell: Shell) -> None:
    """Forget the examples, or say how many would be forgotten."""
    from curate.store import Store

    report = Store(shell.store, create=False).forget(options.where, dry_run=options.dry_run)
    verb = "would forget" if options.dry_run else "forgot"
    text = f"{verb} {report['n_examples']:,} examples ({report['n_rows']:,} rows)"
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else text)
