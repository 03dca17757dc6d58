"""Values of Arrow columns in Python, also those that Python's types have no room for."""

from typing import Any, Final

import pyarrow as pa

NO_ROOM: Final = (OverflowError, ValueError, LookupError, pa.ArrowException)
"""What taking a value into Python may raise: a date beyond its calendar, an unknown time zone."""


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; maps become dictionaries.

    A date or time outside the years of Python's calendar, or in a time zone unknown here, becomes the
    text that Arrow writes it as, or its number; a map with a key twice becomes a list of pairs. Costs
    several times as long for a column with such a value.
    """
    try:
        return list(column.to_pylist(maps_as_pydicts="strict"))
    except NO_ROOM:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except NO_ROOM:
        return _without_type(scalar)


def _without_type(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.ExtensionScalar):
        return _value(scalar.value)
    if isinstance(scalar, pa.StructScalar):
        return {field.name: _value(scalar[i]) for i, field in enumerate(scalar.type)}
    if isinstance(scalar, pa.MapScalar):
        return [[_value(pair[0]), _value(pair[1])] for pair in scalar.values]
    if pa.types.is_nested(scalar.type):
        return [_value(item) for item in scalar.values]
    for type_ in (pa.string(), pa.int64()):
        try:
            return str(scalar.cast(type_).as_py())
        except (pa.ArrowException, ValueError):  # of a time zone that Arrow does not know either
            continue
    return str(scalar.value)
