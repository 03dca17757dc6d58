"""Rows of a pool in any form a notebook needs: Arrow, polars, pandas, `datasets`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.views.charts.numbers import bin_counts, bin_edges, short
from curate.views.notebook.fragment import (
    Cell,
    fragment,
    heading,
    paragraph,
    spark,
    table,
    text_table,
)

if TYPE_CHECKING:
    import datasets
    import polars as pl
    import pyarrow as pa

SHOWN: Final = 5
MAX_SHOWN_COLUMNS: Final = 12
UNSHOWN: Final = ("messages", "group_id", "n_rows")  # what prompt and response say as well
_ID_CHARS: Final = 8


@final
@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One Arrow table that polars, pandas, pyarrow and DuckDB read directly.

    ``polars.DataFrame(rows)`` and ``pyarrow.table(rows)`` work without a copy. A missing value is
    null.

    Parameters
    ----------
    table
        The rows.
    what
        What the rows are, in the plural, for headings.
    """

    table: "pa.Table"
    what: str = "rows"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the table through the Arrow PyCapsule interface."""
        return self.table.__arrow_c_stream__(requested_schema)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.table.column_names)

    def to_arrow(self) -> "pa.Table":
        """Return the Arrow table."""
        return self.table

    def to_polars(self) -> "pl.DataFrame":
        """Return a polars frame."""
        import polars as pl

        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`."""
        return self.table.to_pandas()

    def to_dataset(self) -> "datasets.Dataset":
        """Return a `datasets.Dataset`."""
        import datasets

        return datasets.Dataset(self.table)

    def __repr__(self) -> str:
        shown = self._shown()
        return f"{self._about}\n{text_table(self._names, shown)}" if shown else self._about

    def _repr_html_(self) -> str:
        rows: list[list[Cell]] = [list(row) for row in self._shown()]
        if len(self):
            rows.insert(0, [(drawing,) for drawing in self._distributions()])
        numbers = [name for name in self._names if self._is_number(name)]
        more = paragraph(f"and {len(self) - SHOWN:,} more") if len(self) > SHOWN else ""
        return fragment(heading(self._about), table(self._names, rows, numbers), more)

    @property
    def _names(self) -> list[str]:
        return [name for name in self.columns if name not in UNSHOWN][:MAX_SHOWN_COLUMNS]

    @property
    def _about(self) -> str:
        n = len(self.columns) - len(self._names)
        more = f", {n} more column{'s' if n > 1 else ''}" if n else ""
        what = self.what.removesuffix("s") if len(self) == 1 else self.what
        return f"{len(self):,} {what}{more}"

    def _is_number(self, name: str) -> bool:
        import pyarrow.types as kinds

        dtype = self.table.schema.field(name).type
        return bool(kinds.is_floating(dtype) or kinds.is_integer(dtype))

    def _distributions(self) -> list[str]:
        """Return a small histogram for each column of numbers, nothing for the others."""
        drawings = []
        for name in self._names:
            values = np.empty(0)
            if self._is_number(name):
                values = self.table[name].to_numpy().astype(np.float64)
                values = values[np.isfinite(values)]
            drawn = len(values) > 1 and bool((values != values[0]).any())
            bins = bin_counts(values, bin_edges(values)) if drawn else None
            drawings.append("" if bins is None else spark(bins, name))
        return drawings

    def _shown(self) -> list[list[str]]:
        rows = self.table.select(self._names).slice(0, SHOWN).to_pylist()
        return [[_written(name, row[name]) for name in self._names] for row in rows]


def _written(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return short(value)
    return str(value)[:_ID_CHARS] if name in ("id", "group_id") else str(value)
