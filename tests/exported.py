"""A store with a selection in it, and what an export of it wrote: shared by the export tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.data.read.ingest import IngestOptions, ingest
from curate.data.write.rows import ExportOptions, ExportReport, export_selection
from curate.store import Store

SELECTION = "0123456789abcdef"
NOTES = ["curate_id", "curate_rank", "curate_gain", "curate_weight", "curate_reason"]


def bring(store: Store, path: Path, data: bytes | str | None = None) -> None:
    if data is not None:
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    ingest(store, str(path), IngestOptions())


def select(store: Store, ids: Sequence[str] | None = None) -> list[str]:
    """Save a selection of the given examples, or of all in order of their first row."""
    if ids is None:
        rows = store.read(
            "select r.id, min(d.dataset || lpad(position::varchar, 12, '0')) from rows r "
            "join (select dataset_id as dataset, ordinal from internal.datasets) d "
            "using (dataset) group by r.id order by min(ordinal * 1000000000000 + position)"
        )
        ids = rows["id"].to_pylist()
    n = len(ids)
    table = pa.table(
        {
            "id": ids,
            "rank": pa.array(range(1, n + 1), pa.int64()),
            "gain": pa.array([n - i + 0.5 for i in range(n)]),
            "weight": pa.array([None] * n, pa.float64()),
            "reason": [f"number {i}, best" for i in range(n)],
        }
    )
    store.save_selection({"selection_id": SELECTION, "method": "random"}, table)
    return list(ids)


def export(store: Store, output: Path, **options: Any) -> ExportReport:
    report = export_selection(store, SELECTION, output, ExportOptions(**options))
    assert not [p for p in output.parent.iterdir() if p.name.startswith(f".{output.name}")]
    return report


def load(folder: Path) -> Any:
    """Read an exported folder with `datasets.load_dataset`, with a cache beside it."""
    import datasets

    return datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))


def line(i: int, **more: Any) -> dict[str, Any]:
    return {"prompt": f"p{i}", "response": f"r{i}", **more}


def line_columns(n: int) -> dict[str, list[str]]:
    return {"prompt": [f"p{i}" for i in range(n)], "response": [f"r{i}" for i in range(n)]}
