"""Write a self-contained report of the pool, its scores and selections, or of a proof."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.console import emit, progress
from curate.cli.options import DEFAULT_STORE, Json, Quiet, Store, Verbose, configure_logging

Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write: NAME.html, or NAME.md with --md.")]  # fmt: skip
Selections = Annotated[list[str] | None, typer.Option("--selection", help="Id of a selection to show in full (see curate status). Repeatable; default: the newest of each method.")]  # fmt: skip
Proof = Annotated[Path | None, typer.Option("--proof", help="The JSON that curate prove -o wrote beside its page. By itself, it needs no store.")]  # fmt: skip
Benchmarks = Annotated[list[str] | None, typer.Option("--benchmark", help="Benchmark (file or Hugging Face id) whose examples should not be in the pool. Repeatable.")]  # fmt: skip
Markdown = Annotated[bool, typer.Option("--md", help="Write Markdown instead of HTML.")]


def command(
    output: Output,
    selection: Selections = None,
    proof: Proof = None,
    benchmark: Benchmarks = None,
    md: Markdown = False,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a self-contained report of the pool, its scores and selections, or of a proof."""
    configure_logging(verbose)
    from curate.store import Store as OpenStore
    from curate.views.report.build import ReportOptions, check_path, write_report

    options = ReportOptions(tuple(selection or ()), proof, tuple(benchmark or ()), md)
    check_path(output, md)
    opened = OpenStore(store, create=False) if options.needs_store else None
    with progress(quiet) as shown:
        document = write_report(opened, output, options, shown)
    emit(document, as_json, "" if quiet and not as_json else _text(document))


def _text(d: dict[str, Any]) -> str:
    warnings = [f"warning: {one['text']}" for one in d["warnings"] if one["level"] == "warning"]
    size = f"{d['bytes'] / 1e6:.1f} MB" if d["bytes"] >= 1e5 else f"{d['bytes']:,} bytes"
    return "\n".join([f"wrote {d['output']} ({size}, {d['wall_s']:.1f} s)", *warnings])
