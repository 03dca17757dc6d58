"""Export a stored selection together with the manifest that reproduces it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from curate.manifest import write_manifest

To: TypeAlias = Literal["input", "messages", "sharegpt", "alpaca", "prompt-completion"]
Order: TypeAlias = Literal["rank", "input"]

if TYPE_CHECKING:
    from curate.store import Store


def export(
    store: "Store",
    selection_id: str,
    output: Path,
    *,
    to: To = "input",
    order: Order = "rank",
    annotate: bool = False,
    keep_duplicates: bool = False,
) -> dict[str, Any]:
    """Write a selection and its manifest; return what was written and where.

    Raises `DataError` when the rows do not fit the format asked for.
    """
    from curate.data.export import ExportOptions, export_selection

    options = ExportOptions(to=to, order=order, annotate=annotate, keep_duplicates=keep_duplicates)
    record = store.selection(selection_id)
    written = export_selection(store, selection_id, output, options)
    document = {
        **record,
        "store": os.path.relpath(store.path.resolve(), output.resolve().parent),
        "output": {
            "name": output.name, "sha256": written.sha256, "n_rows": written.n_rows,
            "n_bytes": written.n_bytes, "container": written.container, "to": to, "order": order,
            "annotate": annotate, "keep_duplicates": keep_duplicates,
        },
    }  # fmt: skip
    manifest = write_manifest(output, document)
    return {
        "selection_id": record["selection_id"],
        "output": str(output),
        "manifest": str(manifest),
        "n_rows": written.n_rows,
        "n_bytes": written.n_bytes,
        "sha256": written.sha256,
    }
