"""Example ids as arrays: sorting and looking them up without a Python loop."""

from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from curate.store.records import ID_LENGTH

HEX_PATTERN: Final = f"^[0-9a-f]{{{ID_LENGTH}}}$"

Ids = np.ndarray[Any, np.dtype[np.bytes_]]
Rows = np.ndarray[Any, np.dtype[np.int64]]


def id_bytes(ids: pa.Array | pa.ChunkedArray) -> Ids:
    """Return ids as a numpy array of 32 bytes each."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if len(array) == 0:
        return np.empty(0, dtype=f"S{ID_LENGTH}")
    if array.type in (pa.string(), pa.binary()) and not array.null_count:
        _, offsets, text = array.buffers()
        at = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
        if bool((np.diff(at) == ID_LENGTH).all()):  # they lie side by side
            return np.frombuffer(text, f"S{ID_LENGTH}", count=len(array), offset=int(at[0]))
    fixed = array.cast(pa.binary()).cast(pa.binary(ID_LENGTH))
    start = fixed.offset * ID_LENGTH
    return np.frombuffer(fixed.buffers()[1], f"S{ID_LENGTH}", count=len(fixed), offset=start)


def order(ids: Ids) -> Rows:
    """Return the rows of ``ids`` in ascending order of id."""
    high, low = _halves(ids)
    by_high = np.argsort(high)  # which need not be stable: nothing is equal, or it is sorted again
    if _has_repeats(high[by_high]):
        return np.lexsort((low, high))
    return by_high


@final
class Lookup:
    """Finds the places of ids in ``known``, which is sorted; -1 for ids that are not in it.

    Examples
    --------
    >>> known = np.array([f"{k:032x}".encode() for k in (1, 5)])
    >>> Lookup(known)(np.array([b"0" * 31 + b"5", b"0" * 31 + b"6"])).tolist()
    [1, -1]
    """

    def __init__(self, known: Ids) -> None:
        self._known = known
        self._high, _ = _halves(known)
        self._is_unique = not _has_repeats(self._high)

    def __call__(self, wanted: Ids) -> Rows:
        """Return the place of each wanted id, (k,)."""
        if not len(self._known) or not len(wanted):
            return np.full(len(wanted), -1)
        if self._is_unique:
            at = np.searchsorted(self._high, _halves(wanted)[0])
        else:
            at = np.searchsorted(self._known, wanted)
        at = np.minimum(at, len(self._known) - 1)
        return np.where(self._known[at] == wanted, at, -1)


def _halves(ids: Ids) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    numbers = np.frombuffer(bytes.fromhex(ids.tobytes().decode("ascii")), dtype=">u8")
    return numbers[::2].astype(np.uint64), numbers[1::2].astype(np.uint64)


def _has_repeats(ordered: np.ndarray[Any, Any]) -> bool:
    return bool((ordered[1:] == ordered[:-1]).any())
