"""Read datasets into the pool: files, globs, folders or Hugging Face ids."""

from dataclasses import asdict
from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.ingest import IngestCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress
from curate.cli.options import from_options


@from_options(IngestCommand)
def command(options: IngestCommand, shell: Shell) -> None:
    """Read the datasets; print what came of each."""
    with progress(shell.quiet) as shown:
        reports = options.run(Pool(shell.store, create=True, progress=shown))
    documents = [asdict(report) for report in reports]
    total = {
        key: sum(d[key] for d in documents)
        for key in ("n_read", "n_added", "n_duplicate", "n_failed")
    }
    formats = sorted({d["format"] for d in documents})
    document = {**total, "format": ", ".join(formats), "datasets": documents}
    text = "\n".join(_line(d) for d in documents)
    emit(document, shell.as_json, "" if shell.quiet and not shell.as_json else text)


def _line(report: dict[str, Any]) -> str:
    return (
        f"{report['name']}: read {report['n_read']:,} rows as {report['format']}, "
        f"added {report['n_added']:,} examples, {report['n_duplicate']:,} duplicates, "
        f"{report['n_failed']:,} failed" + (" (already in the store)" if report["reused"] else "")
    )
