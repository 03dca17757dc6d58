"""What a command takes as DATA: names of files and hub ids, standard input, rows in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, final

from curate.errors import ConfigError

STDIN: Final = "-"
_TABLES: Final = ("__arrow_c_stream__", "collect")  # what tables have that no row can be drawn from


@final
@dataclass(frozen=True, eq=False)
class InMemory:
    """Rows as an object: dicts, a table of polars, pandas, Arrow or `datasets`, an iterator of dicts."""

    rows: Any

    def __str__(self) -> str:
        return "memory"


Data: TypeAlias = str | InMemory


def data_words(given: Any) -> tuple[Data, ...]:
    """Return what DATA may be: names of files and hub ids as text, everything else as rows.

    A list of dicts is one dataset, a list of names several. Raises `ConfigError` for what can be
    neither.
    """
    if given is None:
        return ()
    if isinstance(given, str | Path):
        return (str(given),)
    if isinstance(given, list | tuple):
        if given and all(map(_is_row, given)):
            return (InMemory(list(given)),)
        return tuple(_word(item) for item in given)
    return (_word(given),)


def _word(item: Any) -> Data:
    if isinstance(item, str | Path):
        return str(item)
    if _is_row(item):
        return InMemory([item])
    if not isinstance(item, Iterable) and not any(map(partial(hasattr, item), _TABLES)):
        raise ConfigError(
            f"data is {type(item).__name__}; give files or hub ids as text, a list of dicts, or a table "
            "of polars, pandas, Arrow or datasets"
        )
    return InMemory(item)


def _is_row(item: Any) -> bool:
    return isinstance(item, Mapping) and not hasattr(item, "column_names")  # as a DatasetDict has


def paths_of(data: Sequence[Data]) -> list[Path]:
    """Return the files that DATA may name; hub ids are among them, which no file has for a name."""
    return [Path(item).expanduser() for item in data if isinstance(item, str) and item != STDIN]


def shown(item: Data) -> str:
    """Return what people call it."""
    return "standard input" if item == STDIN else str(item)
