"""Write a selection to a file or folder, with its manifest beside it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cli.console import emit
from curate.cli.options import DEFAULT_STORE, Json, Quiet, Seed, Store, Verbose, configure_logging
from curate.data.write.export import Order as RowOrder
from curate.data.write.export import To as ToFormat
from curate.data.write.export import TrainerName

Output = Annotated[Path, typer.Option("--output", "-o", help="A .jsonl, .json, .parquet, .csv or .arrow file (also .gz, .zst), or a folder.")]  # fmt: skip
To = Annotated[ToFormat, typer.Option("--to", help="input (rows as they came), messages, sharegpt, alpaca or prompt-completion.")]  # fmt: skip
Order = Annotated[
    RowOrder, typer.Option("--order", help="rank: best first. input: as in the input.")
]
Annotate = Annotated[bool, typer.Option("--annotate", help="Add curate_id, curate_rank, curate_gain, curate_weight and curate_reason.")]  # fmt: skip
KeepDuplicates = Annotated[bool, typer.Option("--keep-duplicates", help="Write every occurrence of a selected example, not just the first.")]  # fmt: skip


Trainer = Annotated[TrainerName | None, typer.Option("--trainer", help="Write a folder for this trainer, with its dataset registration: llama-factory, axolotl or trl.")]  # fmt: skip
Validation = Annotated[str | None, typer.Option("--validation", help="Also write a validation split, such as 5% or 500 examples, that shares no instruction with the rest.")]  # fmt: skip
ShardRows = Annotated[int | None, typer.Option("--shard-rows", help="Rows per file of a folder. Default: files of 256 MiB.")]  # fmt: skip
Lossy = Annotated[bool, typer.Option("--lossy", help="Write what the format can hold and report what was lost, instead of failing.")]  # fmt: skip
PushToHub = Annotated[str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="Print what would be uploaded to this dataset repository; with --yes, upload it. New repositories are private.")]  # fmt: skip
Yes = Annotated[bool, typer.Option("--yes", help="Carry out what --push-to-hub prints.")]


def command(
    selection: Annotated[
        str, typer.Option("--selection", help="Id of a selection (see curate status).")
    ],
    output: Output,
    to: To = "input",
    trainer: Trainer = None,
    order: Order = "rank",
    annotate: Annotate = False,
    keep_duplicates: KeepDuplicates = False,
    validation: Validation = None,
    seed: Seed = 0,
    shard_rows: ShardRows = None,
    lossy: Lossy = False,
    push_to_hub: PushToHub = None,
    yes: Yes = False,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a selection to a file or folder, with its manifest beside it."""
    configure_logging(verbose)
    from curate.api.pool import Pool

    report = Pool(store, create=False).export(
        selection, output, to=to, trainer=trainer, order=order, annotate=annotate,
        keep_duplicates=keep_duplicates, validation=validation, seed=seed, shard_rows=shard_rows,
        lossy=lossy, push_to_hub=push_to_hub, yes=yes,
    )  # fmt: skip
    emit(report, as_json, "" if quiet and not as_json else _text(report))


def _text(d: dict[str, Any]) -> str:
    from curate.data.write.row_formats import tally_lines

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
