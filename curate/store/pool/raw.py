"""Input rows as they were read, from the files alone: no database."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from curate.errors import DataError
from curate.store.parts import open_parquet, read_parquet

_LONGEST_FIELD: Final = (
    1 << 30
)  # characters of one field of a CSV file; Python's own limit is 131,072


def records_at(parts: Path, dataset: str, positions: Sequence[int]) -> pa.Table:
    """Return input rows of a dataset unchanged, reading only the row groups that hold them."""
    known = read_parquet(parts / "rows" / f"{dataset}.parquet", ["position"])
    kept = known["position"].to_numpy()
    asked = np.asarray(positions, dtype=np.int64)
    row = np.searchsorted(kept, asked)  # the raw parts hold the same rows in the same order
    inside = row < len(kept)
    if not inside.all() or not (kept[row] == asked).all():
        wrong = asked[~inside] if not inside.all() else asked[kept[row] != asked]
        raise DataError(f"dataset {dataset!r} has no row at position {int(wrong[0])}")
    order = np.argsort(row, kind="stable")
    taken = _take_rows(parts / "raw" / dataset, row[order])
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return taken.take(pa.array(back))


def csv_fields(record: str, delimiter: str) -> list[str]:
    """Return the fields of one record of a CSV file, whatever their size and the line breaks in quotes."""
    previous = csv.field_size_limit(_LONGEST_FIELD)
    try:
        return next(csv.reader([record], delimiter=delimiter), [])
    finally:
        csv.field_size_limit(previous)


def _take_rows(folder: Path, rows: "np.ndarray[Any, np.dtype[np.int64]]") -> pa.Table:
    """Read rows, in ascending order, of a folder of Parquet files taken as one table."""
    start = 0
    pieces: list[pa.Table] = []
    schema: pa.Schema | None = None
    for path in sorted(folder.glob("part-*.parquet")):
        with open_parquet(path) as file:
            schema = schema or file.schema_arrow
            for group in range(file.metadata.num_row_groups):
                n = file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(rows, [start, start + n])
                if high > low:
                    piece = file.read_row_group(group)
                    pieces.append(piece.take(pa.array(rows[low:high] - start)))
                start += n
    assert schema is not None
    return pa.concat_tables(pieces) if pieces else schema.empty_table()
