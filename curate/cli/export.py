"""Write a selection to a file or folder, with its manifest beside it."""

from typing import Any

from curate.api.commands.export import ExportCommand
from curate.api.commands.groups import Shell
from curate.api.pool import Pool
from curate.cli.console import emit
from curate.cli.options import from_options
from curate.data.write.row_formats import tally_lines


@from_options(ExportCommand)
def command(options: ExportCommand, shell: Shell) -> None:
    """Write the selection; print where it is."""
    report = options.run(Pool(shell.store, create=False))
    emit(report, shell.as_json, "" if shell.quiet and not shell.as_json else _text(report))


def _text(d: dict[str, Any]) -> str:
    splits = ", ".join(f"{n:,} {split}" for split, n in d["splits"].items())
    by_split = f" ({splits})" if len(d["splits"]) > 1 else ""
    lines = [f"wrote {d['n_rows']:,} rows{by_split} to {d['output']}; manifest {d['manifest']}"]
    if d["n_revised"]:
        lines.append(f"{d['n_revised']:,} responses are revised; their originals: {d['revisions']}")
    lines += [f"lost: {line}" for line in tally_lines(d["lost"])]
    lines += [f"warning: {warning}" for warning in d["warnings"]]
    if "upload" in d:
        lines += _upload_lines(d["upload"], d["output"])
    return "\n".join(lines)


def _upload_lines(upload: dict[str, Any], output: str) -> list[str]:
    if upload["uploaded"]:
        return [f"uploaded to {upload['repo']}: {upload['commit']}"]
    files = [f"  {name}  {size:,} bytes" for name, size in upload["files"].items()]
    head = (
        f"would upload {output} to the dataset repository {upload['repo']} (private if it is new), "
        f"{upload['n_bytes']:,} bytes:"
    )
    return [
        head,
        *files,
        f"would delete there: existing files named {', '.join(upload['replaces'])}",
        "the manifest names inputs and models as they were typed; a registration names this folder",
        "nothing was uploaded; add --yes to upload",
    ]
