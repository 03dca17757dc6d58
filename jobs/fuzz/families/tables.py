"""Arrow tables of every type, with hostile values in them."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any, Final

import pyarrow as pa

from jobs.fuzz.mutations import KEYS, TEXTS

_PLAIN: Final = tuple(text for text in TEXTS if not any("\ud800" <= c <= "\udfff" for c in text))
_TURNS: Final = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _text(rng: Random) -> str:
    return rng.choice(_PLAIN) if rng.random() < 0.3 else f"Say {rng.randrange(1_000)}."


def _turns(rng: Random) -> Any:
    return [
        {"role": rng.choice(("user", "assistant")), "content": _text(rng)}
        for _ in range(rng.randrange(4))
    ]


_COLUMNS: Final[tuple[tuple[pa.DataType, Callable[[Random], Any]], ...]] = (
    (pa.string(), _text),
    (pa.string(), _text),
    (pa.large_string(), _text),
    (pa.string_view(), _text),
    (pa.binary(), lambda rng: _text(rng).encode()),
    (pa.binary(4), lambda rng: b"abcd"),
    (pa.dictionary(pa.int8(), pa.string()), lambda rng: rng.choice("ab")),
    (_TURNS, _turns),
    (pa.large_list(pa.string()), lambda rng: [_text(rng)] * rng.randrange(3)),
    (pa.list_(pa.string(), 2), lambda rng: [_text(rng), _text(rng)]),
    (pa.list_(pa.list_(pa.list_(pa.int8()))), lambda rng: [[[1], None], []]),
    (pa.map_(pa.string(), pa.string()), lambda rng: [("a", _text(rng))] * rng.randrange(3)),
    (pa.struct([("a", pa.struct([("b", pa.string())]))]), lambda rng: {"a": {"b": _text(rng)}}),
    (pa.int8(), lambda rng: rng.randrange(-128, 128)),
    (pa.uint64(), lambda rng: 2**64 - 1),
    (pa.float16(), lambda rng: float("nan")),
    (pa.float64(), lambda rng: rng.choice((float("inf"), float("nan"), 1.5))),
    (pa.decimal128(38, 10), lambda rng: Decimal("1.5")),
    (pa.decimal256(76, 0), lambda rng: Decimal(10**70)),
    (pa.bool_(), lambda rng: True),
    (pa.null(), lambda rng: None),
    (pa.timestamp("s"), lambda rng: rng.choice((0, 2**60, -(2**60)))),
    (pa.timestamp("ns", tz="Europe/Berlin"), lambda rng: rng.choice((0, 2**62))),
    (pa.timestamp("us", tz="+23:59"), lambda rng: 2**62),
    (pa.date32(), lambda rng: rng.choice((0, 2**31 - 1))),
    (pa.time64("ns"), lambda rng: datetime.time(1, 2, 3)),
    (pa.duration("us"), lambda rng: 2**62),
    (pa.month_day_nano_interval(), lambda rng: pa.MonthDayNano([1, 2, 3])),
)


def table(rng: Random) -> pa.Table:
    """Return a table that is often a dataset, of 0 to 40 rows."""
    n = rng.choice((0, 1, 5, 40))
    kinds = [rng.choice(_COLUMNS) for _ in range(rng.randrange(1, 5))]
    if rng.random() < 0.7:
        kinds[:0] = [_COLUMNS[0], _COLUMNS[0]]
        names = ["prompt", "response"]
    else:
        kinds[:0] = [_COLUMNS[7]]
        names = ["messages"]
    names += [rng.choice(KEYS) for _ in range(len(kinds) - len(names))]
    if rng.random() < 0.95:
        kinds = list(dict(zip(names, kinds, strict=True)).values())
        names = list(dict.fromkeys(names))
    arrays = [pa.array([_value(rng, make) for _ in range(n)], type_) for type_, make in kinds]
    return pa.Table.from_arrays(arrays, names=names)


def _value(rng: Random, make: Callable[[Random], Any]) -> Any:
    return None if rng.random() < 0.1 else make(rng)
