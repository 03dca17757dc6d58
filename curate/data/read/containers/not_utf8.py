"""Finds the rows of columns of text whose bytes are not UTF-8, which reading them would meet later."""

from typing import Final

import pyarrow as pa

from curate.data.read.containers.plain_types import replaced

_BINARY: Final = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


def not_utf8_rows(batch: pa.RecordBatch) -> dict[int, str]:
    """Return the rows of a batch that hold text which is not UTF-8, each with the column and why.

    Raises `pa.ArrowInvalid` for a damaged batch, whose offsets lead outside its buffers, where reading
    would crash. Costs one pass over the batch, and one over each column with such a row.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        batch.validate()
    else:
        return {}
    bad: dict[int, str] = {}  # none where only values beyond a slice are not UTF-8
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for row, reason in _bad_values(column):
            bad.setdefault(row, f"column {name!r} is not UTF-8: {reason}")
    return bad


def _bad_values(column: pa.Array) -> list[tuple[int, str]]:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        _check_structure(column)
    else:
        return []
    bad = []
    for row in range(len(column)):
        try:
            column[row].as_py()
        except UnicodeDecodeError as error:
            bad.append((row, f"byte 0x{error.object[error.start]:02x} at byte {error.start}"))
    return bad


def _check_structure(column: pa.Array) -> None:
    """Raise `pa.ArrowInvalid` for offsets and indices that lead outside, whatever the bytes say."""
    if pa.types.is_dictionary(column.type):
        _check_structure(column.dictionary)
        unnamed = pa.nulls(len(column.dictionary))
        pa.DictionaryArray.from_arrays(column.indices, unnamed, safe=False).validate(full=True)
        return
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    column.view(replaced(column.type, _BINARY)).validate(full=True)
