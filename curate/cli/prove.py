"""Test whether training on each method's subset beats random subsets, and at what cost."""

import shlex
import sys
from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.prove import ProveCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress, table
from curate.cli.options import from_options
from curate.errors import ConfigError
from curate.prove.result_table import METRICS, result_rows


@from_options(ProveCommand)
def command(options: ProveCommand, shell: Shell) -> None:
    """Run what is missing of the proof, or plan it; print the comparison."""
    if not (options.methods or options.arms):
        raise ConfigError(
            "nothing to compare with random; add --methods ifd,kmq or --arm "
            "dft:method=random,objective=dft"
        )
    with progress(shell.quiet) as shown:
        pool = Pool(shell.store, create=bool(options.data), progress=shown)
        document = options.run(pool, shlex.join(["curate", *sys.argv[1:]]))
    if options.dry_run:
        emit(document, shell.as_json, "" if shell.as_json else _plan(document))
        return
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else _text(document))


def _plan(d: dict[str, Any]) -> str:
    columns = ("trial", "method", "budget", "seed", "tokens", "done")
    rows = [
        (t["trial_id"], t["method"], t["budget"], t["seed"], t["max_tokens"], t["done"])
        for t in d["plan"]["trials"]
    ]
    return table(columns, rows, "trials")


def comparison_tables(d: dict[str, Any]) -> list[str]:
    """Draw one table for each target, budget and metric of a proof: means, differences, verdicts."""
    columns = ("method", "mean, sd", "95% interval", "minus random", "verdict")
    return [
        table(
            columns,
            result_rows(result),
            f"{result['target']} at {result['budget']}: {METRICS[result['metric']]}",
        )
        for result in d["results"]
    ]


def _text(d: dict[str, Any]) -> str:
    parts = comparison_tables(d)
    parts += [f"note: {text}" for text in d["statements"]]
    plan = d["plan"]
    parts.append(
        f"{d['n_trained']} of {plan['n_trials']} trials trained in this run, {d['wall_s']:,.0f} s"
    )
    if "output" in d:
        parts.append(f"page: {d['output']}")
    return "\n\n".join(parts)
