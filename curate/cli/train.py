"""Fine-tune a model on a selection or a file; rerun the same command to resume."""

from typing import TYPE_CHECKING, Any

from curate.api.commands.groups import Shell
from curate.api.commands.train import TrainCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress, table
from curate.cli.options import from_options, store_to_use
from curate.train.config import SEAMS

if TYPE_CHECKING:
    from curate.train.record import TrainRecord


@from_options(TrainCommand)
def command(options: TrainCommand, shell: Shell) -> None:
    """Train, or plan it; print the record."""
    create = options.selection is None
    with (
        progress(shell.quiet) as shown,
        store_to_use(shell, create=create, dry_run=options.dry_run) as path,
    ):
        done = options.run(Pool(path, create=create, progress=shown))
    if isinstance(done, dict):
        emit(done, shell.as_json, "\n".join(f"{name}: {value}" for name, value in done.items()))
        return
    text = "" if shell.quiet and not shell.as_json else _text(done)
    emit(_document(done), shell.as_json, text)


def _document(record: "TrainRecord") -> dict[str, Any]:
    document = record.as_dict()
    document["last_loss"] = float(record.losses[-1]) if len(record.losses) else None
    return document


def _ways(record: "TrainRecord") -> list[tuple[str, str]]:
    """Return the objective, policy and mixture of a run with their settings, as rows of its table."""
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
    for evaluation in record.evaluations:
        figures = (
            f"NLL {evaluation.mean_nll:.4f} nats a token, perplexity {evaluation.perplexity:.2f}"
        )
        if evaluation.exact_match is not None:
            figures += f", exact match {evaluation.exact_match:.1%}"
        rows.append((f"{evaluation.name}, step {evaluation.step}", figures))
    if record.outcome.get("trajectory"):
        rows.append(("trajectory", f"score set {record.outcome['trajectory']}"))
    return table(("", ""), [*rows, ("output", str(record.output))])
