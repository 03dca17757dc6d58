"""Test whether training on each method's subset beats random subsets, and at what cost."""

import shlex
import sys
from collections.abc import Mapping
from typing import Any, Final

from curate.api.commands.groups import Shell
from curate.api.commands.prove import ProveCommand
from curate.api.pool import Pool
from curate.cli.console import Coloured, emit, joined, progress, table
from curate.cli.options import from_options, store_to_use
from curate.contracts.display import counted
from curate.errors import ConfigError
from curate.prove.conclusions import conclusions
from curate.prove.result_table import METRICS, result_rows
from curate.prove.tones import Tone, tone_of

_COLOURS: Final[Mapping[Tone | None, str]] = {"good": "green", "bad": "red", "open": "yellow"}


@from_options(ProveCommand)
def command(options: ProveCommand, shell: Shell) -> None:
    """Run what is missing of the proof, or plan it; print the comparison."""
    if not (options.methods or options.arms):
        raise ConfigError(
            "nothing to compare with random; add --methods ifd,kmq or --arm "
            "dft:method=random,objective=dft"
        )
    create = bool(options.data)
    with (
        progress(shell.quiet) as shown,
        store_to_use(shell, create=create, dry_run=options.dry_run) as path,
    ):
        pool = Pool(path, create=create, progress=shown)
        document = options.run(pool, shlex.join(["curate", *sys.argv[1:]]))
    if options.dry_run:
        emit(document, shell.as_json, "" if shell.as_json else _plan(document))
        return
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else _text(document))


def _plan(d: dict[str, Any]) -> str:
    """Draw a row for each method and budget: trials that differ in their seed alone stand together."""
    alike: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for trial in d["plan"]["trials"]:
        alike.setdefault((trial["method"], trial["budget"]), []).append(trial)
    rows = [
        (*named, len(trials), sum(trial["max_tokens"] for trial in trials),
         sum(trial["done"] for trial in trials))
        for named, trials in alike.items()
    ]  # fmt: skip
    n_missing, tokens = d["plan"]["n_missing"], d["plan"]["tokens"]  # what arms share counts once
    total = f"{counted(n_missing, 'trial')} to train, {tokens:,} tokens in all"
    columns = ("method", "budget", "trials", "tokens to train on", "done")
    return f"{table(columns, rows, 'trials')}\n{total}"


def comparison_tables(d: dict[str, Any]) -> list[str]:
    """Draw one table for each target, budget and metric of a proof: means, differences, verdicts."""
    columns = ("method", "mean, sd", "95% interval", "minus random", "verdict")
    return [
        table(
            columns,
            [(*cells, _coloured(verdict)) for *cells, verdict in result_rows(result)],
            f"{result['target']} at {result['budget']}: {METRICS[result['metric']]}",
        )
        for result in d["results"]
    ]


def _coloured(verdict: str) -> Coloured:
    return Coloured(verdict, _COLOURS.get(tone_of(verdict), ""))


def _text(d: dict[str, Any]) -> str:
    parts = [*comparison_tables(d), "\n".join(conclusions(d))]
    parts += [f"note: {text}" for text in d["statements"]]
    plan = d["plan"]
    parts.append(
        f"{d['n_trained']} of {plan['n_trials']} trials trained in this run, {d['wall_s']:,.0f} s"
    )
    if "output" in d:
        parts.append(f"page: {d['output']}")
    return joined(parts, "\n\n")
