"""Ask several models for responses to the pool's prompts, check them, and add them to the pool."""

from typing import Any

from curate.api.commands.gather import GatherCommand
from curate.api.commands.groups import Shell
from curate.api.pool import Pool
from curate.cli.console import emit, progress
from curate.cli.options import from_options
from curate.contracts.display import counted


@from_options(GatherCommand)
def command(options: GatherCommand, shell: Shell) -> None:
    """Ask the models; print what came of each."""
    with progress(shell.quiet) as shown:
        gathered = options.run(Pool(shell.store, create=False, progress=shown))
    document = gathered.as_dict()
    line = _planned if options.dry_run else _done
    text = "\n".join(map(line, document["models"]))
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else text)
    gathered.raise_for_failures()


def _planned(d: dict[str, Any]) -> str:
    return (
        f"{d['model']}: would be asked {d['n_asked']:,} of {counted(d['n_prompts'], 'prompt')}, "
        f"{d['n_tokens']:,} tokens to write at most"
    )


def _done(d: dict[str, Any]) -> str:
    if not d["n_asked"]:
        return f"{d['model']}: had answered all of {counted(d['n_prompts'], 'prompt')}"
    facts = {
        "n_repeated": "repeated", "n_blank": "blank", "n_dropped": "not right and left out",
        "n_in_pool": "in the pool before",
    }  # fmt: skip
    less = [f"{d[name]:,} {words}" for name, words in facts.items() if d[name]]
    verdicts = [f"{n:,} {verdict}" for verdict, n in (d["verdicts"] or {}).items()]
    verdicts += [f"{d['n_unchecked']:,} not checked"] * bool(d["n_unchecked"])
    return (
        f"{d['model']}: asked {counted(d['n_asked'], 'prompt')}, {counted(d['n_samples'], 'sample')}"
        + (f" ({', '.join(verdicts)})" if verdicts else "")
        + f"; added {counted(d['n_added'], 'example')}"
        + (f"; {', '.join(less)}" if less else "")
        + (f"; {counted(d['n_failed'], 'prompt')} failed" if d["n_failed"] else "")
    )
