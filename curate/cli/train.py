"""Fine-tune a model on a selection or a file; rerun the same command to resume."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from curate.cli.console import emit, progress, table
from curate.cli.options import (
    DEFAULT_STORE,
    Device,
    DryRun,
    Dtype,
    Json,
    MaxHours,
    Quiet,
    Revision,
    Seed,
    Split,
    Store,
    Verbose,
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
    TrainSetting,
    TrainTemplate,
    read_count,
    train_settings,
)

if TYPE_CHECKING:
    from curate.train.record import TrainRecord


def command(
    model: Annotated[str, typer.Option("--model", "-m", help="Model to start from: a folder or a Hugging Face id.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights: a new one, or that of the same run, to resume it.")],
    selection: Annotated[str | None, typer.Option("--selection", help="Train on this selection of the store.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Train on this file or Hugging Face id.")] = None,
    lora: Lora = False,
    objective: ObjectiveName = None,
    policy: PolicyName = None,
    mixture: MixtureName = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Times each row is seen. Default: 1.")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="Optimiser steps instead of epochs.")] = None,
    max_tokens: MaxTokens = None,
    lr: LearningRate = None,
    schedule: Schedule = None,
    batch_tokens: TrainBatchTokens = None,
    micro_tokens: MicroTokens = None,
    max_length: MaxLength = None,
    train_template: TrainTemplate = None,
    evaluate: Annotated[list[str] | None, typer.Option("--eval", help="Evaluate on this file. Repeatable; --patience watches the first.")] = None,
    eval_every: Annotated[int | None, typer.Option("--eval-every", help="Steps between evaluations. Default: at the end only.")] = None,
    patience: Annotated[int | None, typer.Option("--patience", help="Stop after this many evaluations without improvement.")] = None,
    extractor: Extractor = None,
    max_new_tokens: MaxNewTokens = None,
    save_every: Annotated[int | None, typer.Option("--save-every", help="Steps between checkpoints. Default: at the end only.")] = None,
    record_trajectories: Annotated[int | None, typer.Option("--record-trajectories", metavar="K", help="Record the loss of every example in the store at K points of the run.")] = None,
    trajectory_source: Annotated[Literal["run", "train_log"], typer.Option("--trajectory-source", help="run: passes over the store. train_log: approximated by the losses of the training steps, one per epoch.")] = "run",
    report_to: Annotated[Literal["none", "tensorboard", "wandb", "trackio"] | None, typer.Option("--report-to", help="Tracker to send metrics to.")] = None,
    gradient_checkpointing: Annotated[bool, typer.Option("--gradient-checkpointing", help="Less memory, about a third more time.")] = False,
    setting: TrainSetting = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    revision: Revision = None,
    split: Split = "train",
    seed: Seed = 0,
    max_hours: MaxHours = None,
    dry_run: DryRun = False,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:  # fmt: skip
    """Fine-tune a model on a selection or a file; rerun the same command to resume."""
    configure_logging(verbose)
    from curate.api.pool import Pool
    from curate.api.train import stop_after

    given = {
        "objective": objective, "policy": policy, "mixture": mixture,
        "length.epochs": epochs, "length.max_steps": max_steps, "length.max_tokens": read_count(max_tokens, "--max-tokens"),
        "optimiser.lr": lr, "optimiser.schedule": schedule, "data.batch_tokens": batch_tokens,
        "data.micro_tokens": micro_tokens, "data.max_length": max_length,
        "data.template": train_template, "watch.eval_every": eval_every,
        "watch.patience": patience, "watch.extractor": extractor,
        "watch.max_new_tokens": max_new_tokens, "watch.save_every": save_every,
        "watch.report_to": report_to, "compute.device": device, "compute.dtype": dtype,
        "compute.threads": threads,
        "compute.gradient_checkpointing": gradient_checkpointing or None,
    }  # fmt: skip
    with progress(quiet) as shown, stop_after(max_hours):
        pool = Pool(store, create=selection is None, progress=shown)
        done = pool.train(
            output,
            model=model,
            selection=selection,
            data=data,
            evaluate=tuple(evaluate or ()),
            record_trajectories=record_trajectories,
            source=trajectory_source,
            settings=train_settings(given, lora, pairs(setting, "--set")),
            lora=lora,
            revision=revision,
            split=split,
            seed=seed,
            dry_run=dry_run,
        )
    if isinstance(done, dict):
        emit(done, as_json, "\n".join(f"{name}: {value}" for name, value in done.items()))
        return
    emit(_document(done), as_json, "" if quiet and not as_json else _text(done))


def _document(record: "TrainRecord") -> dict[str, Any]:
    document = record.as_dict()
    document["last_loss"] = float(record.losses[-1]) if len(record.losses) else None
    return document


def _ways(record: "TrainRecord") -> list[tuple[str, str]]:
    """Return the objective, policy and mixture of a run with their settings, as rows of its table."""
    from curate.train.config import SEAMS

    rows: list[tuple[str, str]] = []
    for kind in SEAMS:
        settings = dict(record.config["settings"]["method"][kind])
        name = settings.pop("name")
        shown = ", ".join(f"{key}={value}" for key, value in settings.items())
        rows.append((kind, f"{name} ({shown})" if shown else name))
    return rows


def _text(record: "TrainRecord") -> str:
    cost = record.cost
    rows: list[tuple[str, str]] = [
        ("run", record.run_id),
        *_ways(record),
        ("steps", f"{record.outcome['steps']:,}"),
        ("loss", f"{record.losses[0]:.4f} at first, {record.losses[-1]:.4f} at the end"),
        ("trained", f"{cost.tokens:,} tokens, {cost.padding:.1%} padding on top"),
        ("took", f"{cost.seconds:,.1f} s, {cost.tokens / max(cost.seconds, 1e-9):,.0f} tokens/s"),
        ("memory", f"{cost.peak_bytes / 2**30:.2f} GiB at most"),
    ]
    for one in record.evaluations:
        figures = f"NLL {one.mean_nll:.4f} nats a token, perplexity {one.perplexity:.2f}"
        if one.exact_match is not None:
            figures += f", exact match {one.exact_match:.1%}"
        rows.append((f"{one.name}, step {one.step}", figures))
    if record.outcome.get("trajectory"):
        rows.append(("trajectory", f"score set {record.outcome['trajectory']}"))
    return table(("", ""), [*rows, ("output", str(record.output))])
