"""Test whether training on each method's subset beats random subsets, and at what cost."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from curate.cli.console import emit, progress, table
from curate.cli.options import (
    DEFAULT_STORE,
    ColumnMap,
    Device,
    DryRun,
    Dtype,
    Format,
    Json,
    MaxFailures,
    MaxHours,
    ModelFor,
    OnError,
    Quiet,
    Revision,
    Setting,
    Source,
    Split,
    Store,
    Template,
    Verbose,
    Workers,
    configure_logging,
    pairs,
)
from curate.cli.train_options import (
    Extractor,
    LearningRate,
    Lora,
    MaxLength,
    MaxNewTokens,
    MaxTokens,
    MicroTokens,
    MixtureName,
    ObjectiveName,
    PolicyName,
    Schedule,
    Threads,
    TrainBatchTokens,
    TrainTemplate,
    read_count,
    train_settings,
)
from curate.errors import ConfigError


def command(
    budget: Annotated[list[str], typer.Option("--budget", "-b", help="10%, 5000, 2Mtok or 10%tok. Repeatable, for a curve.")],
    target: Annotated[list[str], typer.Option("--target", help="File or Hugging Face id to evaluate on. Repeatable.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model to train: a folder or a Hugging Face id.")],
    data: Annotated[list[str] | None, typer.Argument(help="Datasets to select from; default: the whole pool.")] = None,
    methods: Annotated[str | None, typer.Option("--methods", help="Methods to compare, comma-separated; perplexity:which=high sets a field. random and longest are added.")] = None,
    arm: Annotated[list[str] | None, typer.Option("--arm", metavar="NAME:KEY=VALUE,...", help="Compare a way to train: method (default: random), objective, policy, mixture, and their or the optimiser's settings, as in dft:method=random,objective=dft. Repeatable.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Runs per method; each draws its own random subset and order. Fewer than 5 give no verdict.")] = 5,
    max_tokens: MaxTokens = None,
    epochs: Annotated[int, typer.Option("--epochs", help="Epochs over the subset, if --max-tokens is not given.")] = 3,
    full: Annotated[Literal["none", "tokens", "epochs", "both"], typer.Option("--full", help="Also train on the whole pool: for as many tokens or as many epochs as the subsets, or both.")] = "none",
    target_limit: Annotated[int | None, typer.Option("--target-limit", help="Evaluate on at most N examples of each target, evenly spaced.")] = None,
    target_split: Annotated[str, typer.Option("--target-split", help="Split to read, if a target has several.")] = "train",
    allow_overlap: Annotated[bool, typer.Option("--allow-overlap", help="Accept target examples that are in the pool.")] = False,
    drop_overlap: Annotated[bool, typer.Option("--drop-overlap", help="Leave out target examples that are in the pool.")] = False,
    where: Annotated[str | None, typer.Option("--where", help="Select only from examples for which this expression holds.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the proof to this page (NAME.md), and NAME.json beside it.")] = None,
    lora: Lora = False,
    objective: ObjectiveName = None,
    policy: PolicyName = None,
    mixture: MixtureName = None,
    lr: LearningRate = None,
    schedule: Schedule = None,
    batch_tokens: TrainBatchTokens = None,
    micro_tokens: MicroTokens = None,
    max_length: MaxLength = None,
    train_template: TrainTemplate = None,
    extractor: Extractor = None,
    max_new_tokens: MaxNewTokens = None,
    setting: Setting = None,
    model_for: ModelFor = None,
    template: Template = "method",
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    workers: Workers = None,
    max_failures: MaxFailures = "1%",
    max_hours: MaxHours = None,
    format: Format = "auto",
    split: Split = "train",
    source: Source = None,
    column: ColumnMap = None,
    on_error: OnError = "fail",
    dry_run: DryRun = False,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Test whether training on each method's subset beats random subsets, and at what cost."""
    configure_logging(verbose)
    from curate.api.pool import Pool
    from curate.prove.config import parse_arms
    from curate.views.report.proof_file import check_proof_path, write_proof

    if methods is None and not arm:
        raise ConfigError(
            "nothing to compare with random; add --methods ifd,kmq or --arm "
            "dft:method=random,objective=dft"
        )
    if output is not None:
        check_proof_path(output)
    given = {
        "objective": objective, "policy": policy, "mixture": mixture,
        "optimiser.lr": lr, "optimiser.schedule": schedule, "data.batch_tokens": batch_tokens,
        "data.micro_tokens": micro_tokens, "data.max_length": max_length,
        "data.template": train_template, "watch.extractor": extractor,
        "watch.max_new_tokens": max_new_tokens, "compute.threads": threads,
    }  # fmt: skip
    further = pairs(setting, "--set")
    with progress(quiet) as shown:
        document = Pool(store, create=bool(data), progress=shown).prove(
            *(one.strip() for one in (methods.split(",") if methods is not None else ())),
            budget=budget, target=target, model=model, data=tuple(data or ()),
            read={
                "format": format, "split": split, "source": source, "on_error": on_error,
                "columns": pairs(column, "--column"),
            },
            model_for=pairs(model_for, "--model-for"), dry_run=dry_run, seeds=seeds,
            max_tokens=read_count(max_tokens, "--max-tokens"), epochs=epochs, full=full, target_limit=target_limit,
            target_split=target_split, allow_overlap=allow_overlap, drop_overlap=drop_overlap,
            where=where, arms=parse_arms(arm or ()), lora=lora, train=train_settings(given, lora, of_training(further)),
            settings={k: v for k, v in further.items() if k not in of_training(further)},
            template=template, revision=revision, device=device, dtype=dtype, workers=workers,
            max_failures=max_failures, max_hours=max_hours,
        )  # fmt: skip
        document["command"] = shlex.join(["curate", *sys.argv[1:]])
    if dry_run:
        emit(document, as_json, "" if as_json else _plan(document))
        return
    if output is not None:
        page, beside = write_proof(document, output)
        document |= {"output": str(page), "document": str(beside)}
    emit(document, as_json, "" if quiet and not as_json else _text(document))


def of_training(settings: dict[str, str]) -> dict[str, str]:
    """Return the settings of training among those of methods and scorers."""
    from curate.train.recipes import is_training

    return {key: value for key, value in settings.items() if is_training(key)}


def _plan(d: dict[str, Any]) -> str:
    columns = ("trial", "method", "budget", "seed", "tokens", "done")
    rows = [
        (t["trial_id"], t["method"], t["budget"], t["seed"], t["max_tokens"], t["done"])
        for t in d["plan"]["trials"]
    ]
    return table(columns, rows, "trials")


def comparison_tables(d: dict[str, Any]) -> list[str]:
    """Draw one table for each target, budget and metric of a proof: means, differences, verdicts."""
    from curate.prove.result_table import METRICS, result_rows

    columns = ("method", "mean, sd", "95% interval", "minus random", "verdict")
    return [
        table(
            columns,
            result_rows(one),
            f"{one['target']} at {one['budget']}: {METRICS[one['metric']]}",
        )
        for one in d["results"]
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
