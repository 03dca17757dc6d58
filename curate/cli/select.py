"""Select a subset with any method; given DATA and -o, ingests, scores, selects and exports."""

from typing import Any

from curate.api.commands.groups import Shell
from curate.api.commands.select import SelectCommand
from curate.api.pool import Pool
from curate.cli.console import emit, progress, table
from curate.cli.options import from_options, store_to_use


@from_options(SelectCommand)
def command(options: SelectCommand, shell: Shell) -> None:
    """Select, or plan it; print what was chosen."""
    create = bool(options.data)
    with (
        progress(shell.quiet) as shown,
        store_to_use(shell, create=create, dry_run=options.dry_run) as path,
    ):
        report = options.run(Pool(path, create=create, progress=shown))
    if options.dry_run:
        emit(report.document, shell.as_json, report.plan_text())
        return
    text = "" if shell.quiet and not shell.as_json else _text(report.document)
    emit(report.document, shell.as_json, text)


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
            (
                "tokens",
                f"{d['n_tokens']:,}, {d['length_ratio']:.2f}x the mean length of those chosen from",
            )
        )
    if "corrected" in d:
        rows.append(("responses", corrected_text(d["corrected"])))
    if d["output"]:
        rows += [("output", d["output"]), ("manifest", d["manifest"])]
    return table(("", ""), rows)  # its warnings were said as notes, on stderr


def corrected_text(d: dict[str, Any]) -> str:
    """Say how many responses were kept, replaced and dropped."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in d["dropped"].items())
    return f"{d['n_kept']:,} kept, {d['n_replaced']:,} replaced, {d['n_dropped']:,} dropped" + (
        f": {reasons}" if reasons else ""
    )
