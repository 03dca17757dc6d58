"""Rows on the way to a container that holds UTF-8 alone: none keeps a lone surrogate."""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts.json_values import json_text
from curate.data.surrogates import WHAT, lone_surrogate, replaced
from curate.data.write.row_formats import N_NAMED, Tally
from curate.errors import DataError

if TYPE_CHECKING:
    from curate.store import Dataset

_ESCAPE: Final = re.compile(rb"\\u[dD][89a-fA-F]")  # in every JSON text that holds a lone surrogate
_NAMES: Final = {"csv": "CSV", "parquet": "Parquet", "arrow": "Arrow", "folder": "Parquet"}
_LOST: Final = f"{WHAT} (U+FFFD is written in its place)"


@final
class WholeTexts:
    """JSON objects as a container can hold them.

    Parameters
    ----------
    container
        JSON and JSON Lines hold everything, as escapes.
    lossy
        Whether to write U+FFFD in the place of a lone surrogate; otherwise `check` raises.
    lost
        Where to count the rows in which that was done.
    """

    def __init__(self, container: str, *, lossy: bool, lost: Tally) -> None:
        self._name = _NAMES.get(container, "")
        self._lossy = lossy
        self._lost = lost
        self._refused: list[str] = []
        self._n_refused = 0

    def of(
        self, dataset: "Dataset", positions: Sequence[int], ids: Sequence[str], texts: list[bytes]
    ) -> list[bytes]:
        """Return the objects; those that the container cannot hold are counted, and empty."""
        if not self._name:
            return texts
        return [
            self._whole(f"{dataset.name} row {position + 1}", example_id, text)
            if _ESCAPE.search(text)
            else text
            for position, example_id, text in zip(positions, ids, texts, strict=True)
        ]

    def _whole(self, place: str, example_id: str, text: bytes) -> bytes:
        row: dict[str, Any] = json.loads(text)
        name = next((name for name in row if lone_surrogate([name, row[name]])), None)
        if name is None:
            return text
        if self._lossy:
            self._lost.add(example_id, _LOST)
            return json_text(replaced(row))
        self._n_refused += 1
        if len(self._refused) < N_NAMED:
            half = lone_surrogate([name, row[name]])
            self._refused.append(f"{example_id}, {place}, has {half} in column {name!r}")
        return b"{}"

    def check(self, n_rows: int) -> None:
        """Raise `DataError` if the container cannot hold some row."""
        if self._n_refused:
            more = "; ..." if self._n_refused > len(self._refused) else ""
            raise DataError(
                f"{self._n_refused} of {n_rows} rows cannot be written as {self._name}, which holds no "
                f"{WHAT} ({'; '.join(self._refused)}{more}); use --lossy to write U+FFFD in its place, "
                "or write .jsonl"
            )
