"""How a dataset is read: most into a store that keeps nothing, some into one and out again."""

import hashlib
from pathlib import Path
from typing import Final

from curate.api.selection import ExportFormat
from curate.data.read.ingest import IngestOptions
from curate.errors import DataError
from jobs.fuzz.family import READ
from jobs.fuzz.nowhere import read_nowhere

_WHOLE: Final = 32  # of as many, one goes through a store
_FORMS: Final[tuple[ExportFormat, ...]] = (
    "input", "messages", "sharegpt", "alpaca", "prompt-completion",
)  # fmt: skip


def read_dataset(path: Path, folder: Path) -> str:
    """Ingest a file, skipping the rows that cannot be used; some also select and export it."""
    number = hashlib.blake2b(path.read_bytes(), digest_size=4).digest()
    if number[0] % _WHOLE:
        strict = number[1] % 4 == 0
        read_nowhere(str(path), folder, IngestOptions(on_error="fail" if strict else "skip"))
    else:
        _through_a_store(path, folder, _FORMS[number[1] % len(_FORMS)])
    return READ


def _through_a_store(path: Path, folder: Path, form: ExportFormat) -> None:
    import curate as cu

    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(path), on_error="skip")
    chosen = pool.select(method="random", budget="100%")
    for row in chosen.to_polars().head(2)["id"].to_list():
        pool.explain(row)
    try:
        chosen.export(folder / f"out{path.suffix}")
        chosen.export(folder / "other.jsonl", to=form)
    except DataError as error:  # as for a form that cannot hold a conversation
        if not str(error).strip():
            raise
