"""What a pass measured on the rows of a batch, as a table to keep and back: bit by bit the same."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from curate.contracts.segments import POOLED

if TYPE_CHECKING:
    from curate.models.passes.forward import Measured
    from curate.models.text.render import Rendered

_MEASURED: Final = "measured"  # False for a row that did not fit in memory
_NORMS: Final = {False: "sq_norm_without_end", True: "sq_norm_with_end"}
_BESIDE: Final = ("rendered", "sq_norm", "pooled")  # what of a row has no value for each token


@cache
def _of_tokens() -> tuple[str, ...]:
    """Return the names of what is measured at each scored token."""
    from curate.models.passes.forward import Measured

    return tuple(field.name for field in fields(Measured) if field.name not in _BESIDE)


@cache
def _schema() -> pa.Schema:
    lists = (*_of_tokens(), *map(str, POOLED))
    return pa.schema(
        [
            (_MEASURED, pa.bool_()),
            *((name, pa.list_(pa.float64())) for name in lists),
            *((name, pa.float64()) for name in _NORMS.values()),
        ]
    )


def kept_table(results: Sequence["Measured | None"]) -> pa.Table:
    """Return what was measured on rows, in their order; None for a row that did not fit."""
    columns: dict[str, list[object]] = {_MEASURED: [row is not None for row in results]}
    for name in _of_tokens():
        columns[name] = [None if row is None else getattr(row, name) for row in results]
    for stat in POOLED:
        columns[str(stat)] = [None if row is None else row.pooled.get(stat) for row in results]
    for with_end, name in _NORMS.items():
        columns[name] = [None if row is None else row.sq_norm.get(with_end) for row in results]
    return pa.Table.from_pydict(columns, schema=_schema())


def kept_rows(table: pa.Table, rows: Sequence["Rendered"]) -> Iterator["Measured | None"]:
    """Yield what `kept_table` was given, for the same rows rendered again."""
    from curate.models.passes.forward import Measured

    columns = {name: table.column(name) for name in _schema().names}

    def values(name: str, number: int) -> np.ndarray | None:
        cell = columns[name][number]
        return cell.values.to_numpy() if cell.is_valid else None

    for number, row in enumerate(rows):
        if not columns[_MEASURED][number].as_py():
            yield None
            continue
        of_tokens: dict[str, Any] = {name: values(name, number) for name in _of_tokens()}
        pooled = {stat: values(str(stat), number) for stat in POOLED}
        norms = {end: columns[name][number].as_py() for end, name in _NORMS.items()}
        yield Measured(
            rendered=row,
            sq_norm={end: norm for end, norm in norms.items() if norm is not None},
            pooled={stat: vector for stat, vector in pooled.items() if vector is not None},
            **of_tokens,
        )
