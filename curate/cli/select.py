"""Select a subset with any method; given DATA and -o, ingests, scores, selects and exports."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.console import emit, progress, table
from curate.cli.export import Annotate, KeepDuplicates, Order, To
from curate.cli.options import (
    DEFAULT_STORE,
    Adapter,
    BatchTokens,
    ColumnMap,
    Device,
    DryRun,
    Dtype,
    Format,
    Json,
    MaxFailures,
    MaxHours,
    Model,
    ModelFor,
    OnError,
    Quiet,
    Revision,
    Seed,
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
from curate.errors import DataError


def command(
    data: Annotated[list[str] | None, typer.Argument(help="Datasets to select from; default: the whole pool.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="A method, or several as in 'ifd | longest' (see curate methods).")] = None,
    budget: Annotated[str | None, typer.Option("--budget", "-b", help="10%, 5000, 2Mtok or 10%tok.")] = None,
    where: Annotated[str | None, typer.Option("--where", help="Only examples for which this expression holds.")] = None,
    rank: Annotated[str | None, typer.Option("--rank", help="Select the top-k by this expression, highest first.")] = None,
    include: Annotated[str | None, typer.Option("--include", metavar="IDS", help="Examples to take first: comma-separated ids, a file of ids, or a selection id such as marked-in-ana.")] = None,
    exclude: Annotated[str | None, typer.Option("--exclude", metavar="IDS", help="Examples never to take: comma-separated ids, a file of ids, or a selection id.")] = None,
    quota: Annotated[list[str] | None, typer.Option("--quota", metavar="SOURCE=N", help="At most N examples (or N%) of a source; * for every other source. Repeatable.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also export the selection to this file or folder.")] = None,
    to: To = "input",
    order: Order = "rank",
    annotate: Annotate = False,
    keep_duplicates: KeepDuplicates = False,
    seed: Seed = 0,
    setting: Setting = None,
    model: Model = None,
    model_for: ModelFor = None,
    template: Template = "method",
    adapter: Adapter = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
    workers: Workers = None,
    max_failures: MaxFailures = "1%",
    max_hours: MaxHours = None,
    allow_stale: Annotated[bool, typer.Option("--allow-stale", help="Use pool scores computed before the pool grew.")] = False,
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
    """Select a subset with any method; given DATA and -o, ingests, scores, selects and exports."""
    configure_logging(verbose)
    from curate.api.pool import Pool

    if output is not None:
        from curate.data.write.rows import check_output

        check_output(output)  # before hours of scoring, not after
    with progress(quiet) as shown:
        pool = Pool(store, create=bool(data), progress=shown)
        report = pool.select(
            method,
            budget=budget,
            data=tuple(data or ()),
            read={
                "format": format, "split": split, "source": source, "on_error": on_error,
                "columns": pairs(column, "--column"),
            },
            where=where,
            rank=rank,
            include=id_list(include),
            exclude=id_list(exclude),
            quota=pairs(quota, "--quota"),
            seed=seed,
            settings=pairs(setting, "--set"),
            allow_stale=allow_stale,
            model=model,
            model_for=pairs(model_for, "--model-for"),
            template=template,
            adapter=adapter,
            revision=revision,
            device=device,
            dtype=dtype,
            batch_tokens=batch_tokens,
            workers=workers,
            max_failures=max_failures,
            max_hours=max_hours,
            dry_run=dry_run,
        )  # fmt: skip
        if dry_run:
            emit(report.document, as_json, report.plan_text())
            return
        if output is not None:
            report.export(
                output, to=to, order=order, annotate=annotate, keep_duplicates=keep_duplicates
            )
    emit(report.document, as_json, "" if quiet and not as_json else _text(report.document))


def id_list(text: str | None) -> tuple[str, ...]:
    """Read ids from a file, one a line, or from the text itself, comma-separated."""
    if text is None:
        return ()
    if os.path.isfile(text):  # unlike Path.is_file, false for a list of ids too long for a name
        try:
            items = Path(text).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"cannot read ids from {text!r}: {error}; one id a line, UTF-8"
            ) from error
    elif text.endswith(".txt") or "/" in text:
        raise DataError(f"no file of ids {text!r}; check the path, or give comma-separated ids")
    else:
        items = text.split(",")
    return tuple(item.strip() for item in items if item.strip())


def _text(d: dict[str, Any]) -> str:
    rows = [
        ("selection", d["selection_id"]),
        ("method", d["method"]),
        (
            "selected",
            f"{d['n_selected']:,} of {d['n_eligible']:,} eligible, {d['n_pool']:,} in the pool",
        ),
    ]
    rows += [("excluded", f"{count:,} {reason}") for reason, count in d["n_excluded"].items()]
    if d["n_tokens"] is not None:
        rows.append(
            ("tokens", f"{d['n_tokens']:,}, {d['length_ratio']:.2f}x the pool's mean length")
        )
    if "corrected" in d:
        rows.append(("responses", corrected_text(d["corrected"])))
    if d["output"]:
        rows += [("output", d["output"]), ("manifest", d["manifest"])]
    lines = [table(("", ""), rows)]
    return "\n".join([*lines, *(f"warning: {w}" for w in d["warnings"])])


def corrected_text(d: dict[str, Any]) -> str:
    """Say how many responses were kept, replaced and dropped."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in d["dropped"].items())
    return f"{d['n_kept']:,} kept, {d['n_replaced']:,} replaced, {d['n_dropped']:,} dropped" + (
        f": {reasons}" if reasons else ""
    )
