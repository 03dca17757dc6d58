"""Run everything offline, on a generated pool with planted errors and a tiny model."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.others import DemoCommand
from curate.cli.console import emit, joined, progress, table
from curate.cli.options import from_options
from curate.cli.prove import comparison_tables
from curate.contracts.progress import DedupedNotes
from curate.demo.run import run_demo
from curate.demo.summary import Outline, kept_sentence, trained_sentence


@from_options(DemoCommand)
def command(options: DemoCommand, shell: Shell) -> None:
    """Run the demo; print what each method kept and whether it beats random."""
    with progress(shell.quiet) as shown:
        told = shown if shell.verbose else Outline(DedupedNotes(shown))
        report = run_demo(options.folder, options.seed, told, everything=options.everything)
    text = "" if shell.quiet and not shell.as_json else _text(report, verbose=shell.verbose)
    emit(report, shell.as_json, text)


def _text(report: dict[str, Any], *, verbose: bool) -> str:
    kept = report["kept"]
    columns = list(kept[0])
    rows = [[_shown(column, row[column]) for column in columns] for row in kept]
    proof = report["proof"]
    budget, tokens = next(iter(proof["plan"]["max_tokens"].items()))
    title = f"what each method kept, of {report['n_examples']:,} examples"
    files = [f"{name}: {path}" for name, path in report["outputs"].items()] if verbose else []
    lines = [
        table([column.replace("_", " ") for column in columns], rows, title),
        *files,
        "",
        f"trained on {budget} examples of each method, {tokens:,} tokens, {proof['seeds']} seeds:",
        *comparison_tables(proof),
        "",
        *(f"not proved: {name}; {why}" for name, why in report["left_out"].items()),
        kept_sentence(report),
        trained_sentence(proof),
        "",
        f"took {report['wall_s']:.0f} s; the whole proof: {report['page']}",
        f"next, look at what was kept: curate explore --store {report['store']}",
    ]
    return joined(lines)


def _shown(column: str, value: object) -> object:
    return f"{value:.1%}" if isinstance(value, float) and column.endswith("share") else value
