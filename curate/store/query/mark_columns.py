"""Marks, labels and notes as columns of expressions: ``mark``, ``label.NAME`` and ``note``.

They are those of everybody who marks. They can be changed at any time, so they are read anew for
each expression.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import duckdb
import pyarrow as pa

from curate.store.expressions import Kind
from curate.store.records import BY_HAND

LABEL: Final = "label"
NOT_MARKED: Final = "none"
DISAGREED: Final = "both"
_FACTS: Final[Mapping[str, str]] = {"mark": NOT_MARKED, "note": ""}  # what unmarked examples have


def asked(names: Iterable[str]) -> list[str]:
    """Return those of some column names that are marks, labels or notes."""
    return [name for name in names if name in _FACTS or name.startswith(f"{LABEL}.")]


def known_names(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the columns there are: ``mark``, ``note``, and a ``label.NAME`` of each label given."""
    labels = {config["label"] for _, config in _by_hand(con) if "label" in config}
    return [*_FACTS, *sorted(f"{LABEL}.{label}" for label in labels)]


def read(con: duckdb.DuckDBPyConnection, names: Sequence[str]) -> tuple[pa.Table, dict[str, Kind]]:
    """Return the values of some of these columns by example, and the kind of each.

    Columns: ``id`` and each name; a row for each example that anybody marked, labelled or noted.
    ``mark`` is in, out, ``both`` where people disagree, or ``none``; a label is true or false, and
    the notes of several people follow each other. A label that nobody gave is left out.
    """
    known = known_names(con)
    there = [name for name in names if name in known]
    values: dict[str, dict[str, str | bool]] = {name: {} for name in there}
    for selection_id, config in _by_hand(con):
        name, value = _column(config)
        if name not in values:
            continue
        rows = con.execute(
            "select id, reason from selection_rows where selection_id = ?", [selection_id]
        ).fetchall()
        for example_id, reason in rows:
            new = reason if name == "note" else value
            old = values[name].get(example_id, new)
            values[name][example_id] = _together(name, old, new)
    ids = sorted({example_id for by_id in values.values() for example_id in by_id})
    columns = {
        name: pa.array(
            [by_id.get(i, _FACTS.get(name, False)) for i in ids],
            pa.string() if name in _FACTS else pa.bool_(),
        )
        for name, by_id in values.items()
    }
    kinds: dict[str, Kind] = {name: "text" if name in _FACTS else "bool" for name in there}
    return pa.table({"id": pa.array(ids, pa.string()), **columns}), kinds


def default_sql(name: str) -> str:
    """Return SQL for the value of a column for an example that nobody marked."""
    return f"'{_FACTS[name]}'" if name in _FACTS else "false"


def default(name: str) -> str | bool:
    """Return the value of a column for an example that nobody marked."""
    return _FACTS.get(name, False)


def _by_hand(con: duckdb.DuckDBPyConnection) -> list[tuple[str, dict[str, str]]]:
    rows = con.execute(
        "select selection_id, config from selections where method = ? order by selection_id",
        [BY_HAND],
    ).fetchall()
    return [(selection_id, json.loads(config)) for selection_id, config in rows]


def _column(config: Mapping[str, str]) -> tuple[str, str | bool]:
    """Return the column a selection made by hand belongs to, and the value of its examples."""
    if "label" in config:
        return f"{LABEL}.{config['label']}", True
    return ("note", "") if "notes" in config else ("mark", config.get("mark", NOT_MARKED))


def _together(name: str, old: str | bool, new: str | bool) -> str | bool:
    if old == new:
        return new
    return f"{old}\n{new}" if name == "note" else DISAGREED
