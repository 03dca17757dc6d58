"""Score every example in the pool once; resume where an earlier run stopped."""

from typing import Annotated, Any

import typer

from curate.cli.console import emit, progress, table
from curate.cli.options import (
    DEFAULT_STORE,
    Adapter,
    BatchTokens,
    Device,
    DryRun,
    Dtype,
    Json,
    MaxFailures,
    MaxHours,
    Model,
    ModelFor,
    Quiet,
    Revision,
    Setting,
    Store,
    Template,
    Verbose,
    Workers,
    configure_logging,
    pairs,
)


def command(
    scorer: Annotated[str, typer.Option("--scorer", help="Scorers to run, comma-separated (see curate methods).")],
    model: Model = None,
    model_for: ModelFor = None,
    alias: Annotated[str | None, typer.Option("--as", help="Alias of the score set, for a single scorer. Default: the scorer's name.")] = None,
    setting: Setting = None,
    template: Template = "method",
    adapter: Adapter = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
    workers: Workers = None,
    executor: Annotated[str, typer.Option("--executor", help="Where to run: local.")] = "local",
    within: Annotated[str | None, typer.Option("--within", help="Score only the examples of this selection, into a separate score set.")] = None,
    from_checkpoints: Annotated[str | None, typer.Option("--from-checkpoints", help="Measure a trajectory at the checkpoints in this folder instead of training.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Time N examples and estimate the whole run; stores nothing.")] = None,
    max_failures: MaxFailures = "1%",
    max_hours: MaxHours = None,
    dry_run: DryRun = False,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Score every example in the pool once; resume where an earlier run stopped."""
    configure_logging(verbose)
    from curate.api.pool import Pool

    with progress(quiet) as shown:
        pool = Pool(store, create=False, progress=shown)
        report = pool.score(
            *scorer.split(","),
            model=model,
            model_for=pairs(model_for, "--model-for"),
            alias=alias,
            settings=pairs(setting, "--set"),
            template=template,
            adapter=adapter,
            revision=revision,
            device=device,
            dtype=dtype,
            batch_tokens=batch_tokens,
            workers=workers,
            executor=executor,
            from_checkpoints=from_checkpoints,
            within=within,
            limit=limit,
            max_failures=max_failures,
            max_hours=max_hours,
            dry_run=dry_run,
        )
    document = report.as_dict()
    text = _text(document) if "score_sets" in document else _plan_text(document)
    emit(document, as_json, "" if quiet and not as_json else text)
    report.raise_for_failures()


def _text(d: dict[str, Any]) -> str:
    columns = (
        "alias",
        "set_id",
        "n_scored",
        "n_reused",
        "n_failed",
        "tokens",
        "wall_s",
        "content_hash",
    )
    return table(columns, [[s[c] for c in columns] for s in d["score_sets"]])


def _plan_text(d: dict[str, Any]) -> str:
    plan = d["plan"]
    columns = (
        "pass",
        "scorers",
        "template",
        "examples",
        "tokens",
        "padding",
        "truncated",
        "unscorable",
    )
    rows = [[p[c] for c in columns] for p in plan["passes"]]
    sampled = "" if all(p["exact"] for p in plan["passes"]) else " (estimated from a sample)"
    lines = [
        table(columns, rows, "passes"),
        (
            f"{plan['tokens']:,} tokens to run{sampled}; {plan['disk_mib']:.1f} MiB of parts; "
            f"{plan['n_reused']:,} scores are already stored"
        ),
    ]
    lines += [f"{name}: one run over the whole pool" for name in plan["pool_scorers"]]
    if plan["unified"]:
        lines.append(plan["unified"])
    if plan["weights_mib"] is not None:
        lines.append(
            f"weights take {plan['weights_mib']:,.0f} MiB in each of {plan['workers']} worker(s)"
        )
    if plan["seconds"] is not None:
        lines.append(
            f"measured {plan['tokens_per_s']:,.0f} tokens/s on {plan['measured_on']} examples: "
            f"about {plan['seconds']:,.0f} s with {plan['workers']} worker(s)"
        )
    elif plan["passes"]:
        lines.append("to estimate the time, measure a sample: add --limit 200")
    return "\n".join(lines)
