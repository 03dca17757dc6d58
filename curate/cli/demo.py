"""Run everything offline, on a generated pool with planted errors and a tiny model."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.others import DemoCommand
from curate.cli.console import emit, progress, table
from curate.cli.options import from_options
from curate.cli.prove import comparison_tables
from curate.demo.run import run_demo


@from_options(DemoCommand)
def command(options: DemoCommand, shell: Shell) -> None:
    """Run the demo; print what each method kept and whether it beats random."""
    with progress(shell.quiet) as shown:
        report = run_demo(options.folder, options.seed, shown, everything=options.everything)
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else _text(report))


def _text(report: dict[str, Any]) -> str:
    kept = report["kept"]
    columns = list(kept[0])
    rows = [[_shown(column, row[column]) for column in columns] for row in kept]
    proof = report["proof"]
    budget, tokens = next(iter(proof["plan"]["max_tokens"].items()))
    title = f"what each method kept, of {report['n_examples']:,} examples"
    lines = [
        table([column.replace("_", " ") for column in columns], rows, title),
        *(f"{name}: {path}" for name, path in report["outputs"].items()),
        "",
        f"trained on {budget} examples of each method, {tokens:,} tokens, {proof['seeds']} seeds:",
        *comparison_tables(proof),
        "",
        *(f"not proved: {name}; {why}" for name, why in report["left_out"].items()),
        f"full proof, with costs: {report['page']}",
        f"took {report['wall_s']:.0f} s; next: curate status --store {report['store']}",
    ]
    return "\n".join(lines)


def _shown(column: str, value: object) -> object:
    return f"{value:.1%}" if isinstance(value, float) and column.endswith("share") else value
