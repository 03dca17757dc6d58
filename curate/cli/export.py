"""Write a selection to a file or folder, with its manifest beside it."""

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.console import emit
from curate.cli.options import DEFAULT_STORE, Json, Quiet, Store, Verbose, configure_logging
from curate.exporting import Order as RowOrder
from curate.exporting import To as ToFormat

Output = Annotated[Path, typer.Option("--output", "-o", help="A .jsonl, .json, .parquet, .csv or .arrow file (also .gz, .zst), or a folder.")]  # fmt: skip
To = Annotated[ToFormat, typer.Option("--to", help="input (rows as they came), messages, sharegpt, alpaca or prompt-completion.")]  # fmt: skip
Order = Annotated[
    RowOrder, typer.Option("--order", help="rank: best first. input: as in the input.")
]
Annotate = Annotated[bool, typer.Option("--annotate", help="Add curate_id, curate_rank, curate_gain, curate_weight and curate_reason.")]  # fmt: skip
KeepDuplicates = Annotated[bool, typer.Option("--keep-duplicates", help="Write every occurrence of a selected example, not the first alone.")]  # fmt: skip


def command(
    selection: Annotated[
        str, typer.Option("--selection", help="Id of a selection (see curate status).")
    ],
    output: Output,
    to: To = "input",
    order: Order = "rank",
    annotate: Annotate = False,
    keep_duplicates: KeepDuplicates = False,
    store: Store = DEFAULT_STORE,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a selection to a file or folder, with its manifest beside it."""
    configure_logging(verbose)
    from curate.pool import Pool

    report = Pool(store, create=False).export(
        selection, output, to=to, order=order, annotate=annotate, keep_duplicates=keep_duplicates
    )
    text = f"wrote {report['n_rows']:,} rows to {report['output']}; manifest {report['manifest']}"
    emit(report, as_json, "" if quiet and not as_json else text)
