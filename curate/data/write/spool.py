"""Reorders rows on disk, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, final

import numpy as np
import pyarrow as pa

BUCKET_ROWS: Final = 8192
MAX_BUCKETS: Final = 256  # each is an open file


@final
class Spool:
    """Rows by their place in the output, in files of consecutive places.

    Parameters
    ----------
    folder
        Where the files go; the caller removes it.
    n_rows
        Number of rows to come; they have the places 0 to n_rows - 1.
    """

    def __init__(self, folder: Path, n_rows: int) -> None:
        self._folder = folder
        self._size = max(BUCKET_ROWS, -(-n_rows // MAX_BUCKETS))
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    def add(self, rows: pa.Table, places: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
        """Store rows with their places in the output."""
        rows = rows.append_column("\0place", pa.array(places, pa.int64()))
        buckets = places // self._size
        for bucket in np.unique(buckets).tolist():
            part = rows.filter(pa.array(buckets == bucket))
            if bucket not in self._writers:
                path = self._folder / f"{bucket}.arrow"
                self._writers[bucket] = pa.ipc.new_stream(str(path), rows.schema)
            self._writers[bucket].write_table(part)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows in the order of their places; ends the writing."""
        for bucket, writer in sorted(self._writers.items()):
            writer.close()
            path = self._folder / f"{bucket}.arrow"
            with pa.memory_map(str(path)) as file:
                rows = pa.ipc.open_stream(file).read_all()
                order = np.argsort(rows["\0place"].to_numpy(), kind="stable")
                yield rows.drop_columns("\0place").take(pa.array(order))
            path.unlink()

    def close(self) -> None:
        """Close the files, also after a failure."""
        for writer in self._writers.values():
            writer.close()
