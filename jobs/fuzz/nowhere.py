"""A store that keeps nothing: what the readers need of one, without the time a database takes."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.read.ingest import IngestOptions, IngestReport, ingest
from curate.store.records import IngestCounts


@final
class Nowhere:
    """Takes a dataset as a store does, and forgets it."""

    def __init__(self, folder: Path) -> None:
        self.parts = folder / "nowhere"

    def datasets(self) -> list[Any]:
        """There are none."""
        return []

    def pool_writer(self, dataset: Any, schema: pa.Schema) -> "_Writer":
        """Return what takes the rows of a dataset."""
        del dataset
        return _Writer(schema)


@final
class _Writer:
    def __init__(self, schema: pa.Schema) -> None:
        self._raw = pq.ParquetWriter(io.BytesIO(), schema)
        self._added = self._failed = 0

    def append(self, batch: pa.RecordBatch, raw: pa.RecordBatch) -> None:
        pq.write_table(pa.Table.from_batches([batch]), io.BytesIO())
        self._raw.write_batch(raw)
        self._added += batch.num_rows

    def skip(self, position: int, place: str, reason: str) -> None:
        f"{position} {place} {reason}".encode()  # what is recorded has to be text
        self._failed += 1

    def bind(self, columns: Mapping[str, str]) -> None:
        del columns

    def commit(self) -> IngestCounts:
        self._raw.close()
        return IngestCounts(self._added + self._failed, self._added, 0, self._failed)

    def abort(self) -> None:
        self._raw.close()


def read_nowhere(path: str, folder: Path, options: IngestOptions | None = None) -> IngestReport:
    """Ingest a dataset into a store that keeps nothing."""
    store: Any = Nowhere(folder)
    [report] = ingest(store, path, options or IngestOptions(on_error="skip"))
    return report
