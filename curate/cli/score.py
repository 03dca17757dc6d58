"""Score every example in the pool once; resume where an earlier run stopped."""

import time
from pathlib import Path
from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.score import SLICE_WAIT_S, ScoreCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress, table
from curate.cli.options import from_options
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.errors import StoreError
from curate.models.passes.vllm_forward import GPU_MEMORY_UTILIZATION
from curate.scoring.backends import VLLM


@from_options(ScoreCommand)
def command(options: ScoreCommand, shell: Shell) -> None:
    """Score what is missing, or plan it; print each score set."""
    with progress(shell.quiet) as shown:
        if options.is_from_plan:  # on a machine that need not have a store
            report: Any = options.run_published(shown)
        else:
            report = options.run(_opened(options, shell.store, shown))
    document = report.as_dict()
    text = _shown(report, document)
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else text)
    report.raise_for_failures()


def _opened(options: ScoreCommand, store: Path, shown: Progress) -> Pool:
    """Open the store; a slice waits longer, since others may hold it that begin at the same time."""
    deadline = time.monotonic() + SLICE_WAIT_S
    while True:
        try:
            return Pool(store, create=False, progress=shown)
        except StoreError as error:
            if options.slice is None or not error.is_held or time.monotonic() > deadline:
                raise
            held = str(error).partition(" and was not released")[0]
            shown.note(f"{held}, perhaps another slice that begins; still waiting")


def _shown(report: Any, document: dict[str, Any]) -> str:
    if "plan" in document:
        return _plan_text(document)
    return _text(document) if "score_sets" in document else str(report)


def _text(d: dict[str, Any]) -> str:
    columns = ["set_id", "alias", "n_scored", "n_reused", "n_failed", "tokens", "wall_s"]
    headings = ["score set", "alias", "scored", "reused", "failed", "tokens", "seconds"]
    if any(s["n_undefined"] for s in d["score_sets"]):
        columns.insert(5, "n_undefined")
        headings.insert(5, "undefined")
    return table(headings, [[s[c] for c in columns] for s in d["score_sets"]])


def _pass_line(d: dict[str, Any]) -> str:
    """Say what a pass costs beside its tokens, and what it cannot score and why."""
    facts = [
        f"{d['rows_per_example']:g} {'row' if d['rows_per_example'] == 1 else 'rows'} an example",
        f"{d['padding']:.1%} padding",
    ]
    if d["backend"] == VLLM:
        facts.append(
            f"by vLLM: {d['batch_tokens']:,} tokens at a time, gpu_memory_utilization {GPU_MEMORY_UTILIZATION}"
        )
    if d["batch_origin"]:
        facts.append(f"batches of {d['batch_tokens']:,} tokens, {d['batch_origin']}")
    if d["dtype_why"]:
        facts.append(f"in {d['dtype']}, {d['dtype_why']}")
    if d["shared"]:
        share = d["shared"] / d["tokens"]
        facts.append(f"{d['shared']:,} tokens ({share:.0%}) need not run, as rows begin alike")
    if d["unshared_because"]:
        facts.append(f"what rows begin with runs in each: {d['unshared_because']}")
    if d["requests"]:
        facts.append(f"{counted(d['requests'], 'request')} to a server")
    if d["truncated"]:
        facts.append(f"{counted(d['truncated'], 'example')} cut")
    if d["unscorable"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in d["reasons"].items())
        facts.append(f"{counted(d['unscorable'], 'example')} cannot be scored: {reasons}")
    return f"pass {d['pass']}: {', '.join(facts)}"


def _plan_text(d: dict[str, Any]) -> str:
    plan = d["plan"]
    columns = ("pass", "scorers", "template", "examples", "tokens")
    rows = [[p[c] for c in columns] for p in plan["passes"]]
    sampled = "" if all(p["exact"] for p in plan["passes"]) else " (estimated from a sample)"
    lines = [
        table(columns, rows, "passes"),
        *map(_pass_line, plan["passes"]),
        (
            f"{plan['tokens'] - plan['shared']:,} tokens to run{sampled}; {plan['disk_mib']:.1f} MiB of parts; "
            f"{plan['n_reused']:,} scores are already stored"
        ),
    ]
    lines += [f"{name}: one run over the whole pool" for name in plan["pool_scorers"]]
    if plan["unified"]:
        lines.append(plan["unified"])
    if plan["weights_over"] is not None:
        lines.append(plan["weights_over"])
    elif plan["weights_mib"] is not None:
        lines.append(
            f"weights take {plan['weights_mib']:,.0f} MiB in each of {counted(plan['workers'], 'worker')}"
        )
    if plan["weights_lack"] is not None:
        lines.append(f"the weights do not fit: they take {plan['weights_lack']}")
    if plan["seconds"] is not None:
        lines.append(
            f"measured {plan['tokens_per_s']:,.0f} tokens/s on {plan['measured_on']} examples: "
            f"about {plan['seconds']:,.0f} s with {counted(plan['workers'], 'worker')}"
        )
    elif plan["passes"]:
        lines.append("to estimate the time, measure a sample: add --limit 200")
    return "\n".join(lines)
