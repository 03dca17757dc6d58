"""The columns that quotas and a mix are of, beside a view's own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from curate.contracts import View
from curate.store.ids import Lookup

if TYPE_CHECKING:
    from curate.store import Store


def with_share_columns(
    store: "Store",
    view: View,
    columns: Sequence[str],
    named: Mapping[str, str],
    datasets: Sequence[str] | None,
) -> View:
    """Return a view with further columns, each under its own text; None where an example has no value.

    Unlike what a method reads, a missing value excludes nothing. One query a column. Raises
    `ExpressionError` for a column that does not exist, with the nearest spelling.
    """
    read = {}
    for column in (name for name in columns if name not in view.columns):
        known = store.view(bind={}, expressions={column: column}, named=named, datasets=datasets)
        at = Lookup(known.ids)(view.ids)
        values = np.full(len(view), None, dtype=object)
        values[at >= 0] = known.column(column)[at[at >= 0]]
        read[column] = values
    return replace(view, columns={**view.columns, **read}) if read else view
