"""The ids that rows of the input bring along: which occur twice."""

from array import array
from collections.abc import Iterator
from typing import final

import numpy as np
import pyarrow as pa

from curate.contracts.display import counted


@final
class ExternalIds:
    """Finds user ids that occur twice, in 16 bytes a row."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._positions = array("q")

    def add(self, batch: pa.RecordBatch, continued: frozenset[int] = frozenset()) -> None:
        """Remember the ids of rows, by their position.

        Not of rows that are ``continued``: further responses of one row, which all have its id.
        """
        ids = batch.column("external_id")
        if ids.null_count == len(ids):
            return
        for position, external_id in zip(
            batch.column("position").to_pylist(), ids.to_pylist(), strict=True
        ):
            if external_id is not None and position not in continued:
                self._hashes.append(hash(external_id))
                self._positions.append(position)

    def warning(self) -> Iterator[str]:
        """Say how many ids occur twice, and where first; nothing if none does."""
        if not self._hashes:
            return
        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        repeats = np.flatnonzero(hashes[order][1:] == hashes[order][:-1]) + 1
        if not len(repeats):
            return
        second = int(order[repeats].min())
        first = int(np.flatnonzero(hashes == hashes[second])[0])
        yield (
            f"{counted(len(repeats), 'row')} {'repeats' if len(repeats) == 1 else 'repeat'} the id of an "
            "earlier row (first: rows "
            f"{self._positions[first]} and {self._positions[second]}, counted from 0); "
            "all rows are kept"
        )
