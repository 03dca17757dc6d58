"""Read datasets into the pool: files, globs, folders or Hugging Face ids."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from curate.cli.console import emit, progress
from curate.cli.options import (
    DEFAULT_STORE,
    ColumnMap,
    Format,
    Json,
    OnError,
    Quiet,
    Source,
    Split,
    Store,
    Verbose,
    configure_logging,
    pairs,
)


def command(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, globs, save_to_disk folders or ids such as org/name:config@revision."
        ),
    ] = None,
    from_selection: Annotated[
        str | None,
        typer.Option("--from-selection", help="Read a selection of this store as a new dataset."),
    ] = None,
    format: Format = "auto",
    split: Split = "train",
    source: Source = None,
    column: ColumnMap = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Read only the first N rows.")
    ] = None,
    on_error: OnError = "fail",
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Read datasets into the pool: files, globs, folders or Hugging Face ids."""
    configure_logging(verbose)
    from curate.api.pool import Pool
    from curate.errors import ConfigError

    if bool(data) == bool(from_selection):
        raise ConfigError("give either DATA or --from-selection ID; see curate ingest --help")
    with progress(quiet) as shown:
        pool = Pool(store, progress=shown)
        if from_selection:
            reports = pool.ingest_selection(
                from_selection, source=source, limit=limit, on_error=on_error
            )
        else:
            reports = pool.ingest(
                *(data or []),
                format=format,
                split=split,
                source=source,
                columns=pairs(column, "--column"),
                limit=limit,
                on_error=on_error,
            )
    documents = [asdict(report) for report in reports]
    total = {
        key: sum(d[key] for d in documents)
        for key in ("n_read", "n_added", "n_duplicate", "n_failed")
    }
    formats = sorted({d["format"] for d in documents})
    document = {**total, "format": ", ".join(formats), "datasets": documents}
    emit(document, as_json, "" if quiet and not as_json else "\n".join(_line(d) for d in documents))


def _line(report: dict[str, Any]) -> str:
    return (
        f"{report['name']}: read {report['n_read']:,} rows as {report['format']}, "
        f"added {report['n_added']:,} examples, {report['n_duplicate']:,} duplicates, "
        f"{report['n_failed']:,} failed" + (" (already in the store)" if report["reused"] else "")
    )
