"""The columns of one score set for one shard: checked, and as the table that is stored."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa

from curate.contracts import Column
from curate.errors import ScoreError
from curate.store.parts import part_schema

NON_FINITE: Final = "non_finite"  # the failure of an example with such a value

Part: TypeAlias = tuple[pa.Table, Mapping[str, Any]]  # the table, and the facts of its run


def part_table(
    ids: Sequence[str],
    rows: Mapping[int, Mapping[str, Any]],
    failures: Mapping[int, str],
    outputs: Mapping[str, Column],
) -> pa.Table:
    """Return the rows of a part: ids, one column per output, and the reason of each failure.

    Parameters
    ----------
    ids
        Of the shard's examples, in order.
    rows, failures
        Values, or the reason there are none, by the example's place in ``ids``.
    outputs
        Columns the scorer declares.
    """
    schema = part_schema({name: column.dtype for name, column in outputs.items()})
    arrays = [pa.array(ids, pa.string())]
    for name, column in outputs.items():
        values = [rows[n][name] if n in rows else None for n in range(len(ids))]
        arrays.append(
            pa.array([_for_arrow(v, column.dtype) for v in values], schema.field(name).type)
        )
    arrays.append(pa.array([failures.get(n) for n in range(len(ids))], pa.string()))
    return pa.Table.from_arrays(arrays, schema=schema)


def _for_arrow(value: Any, dtype: str) -> Any:
    """Convert one value to the column's Arrow type; whole floats fit an int column."""
    if value is None:
        return None
    if dtype == "int":
        return int(value)
    if dtype == "bool":
        return bool(value)
    return value


def is_finite(value: Any) -> bool:
    """Return whether a value, or every number of an array, is finite; what is no float counts as such."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    return not isinstance(value, float | np.floating) or math.isfinite(value)


def check_columns(
    scorer: str, shard: str, returned: Mapping[str, Any], outputs: Mapping[str, Column]
) -> None:
    """Raise `ScoreError` unless a scorer returned exactly the columns it declares."""
    if set(returned) != set(outputs):
        raise ScoreError(
            f"shard {shard}: scorer {scorer!r} returned the columns {', '.join(returned) or 'none'}, "
            f"but declares {', '.join(outputs)}; nothing was written"
        )


def reason_of(error: Exception) -> str:
    """Return an error as the reason of a failure, at most 200 characters."""
    return f"{type(error).__name__}: {error}"[:200]
