"""Columns of a pool by name, as arrays with axis labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np

from curate.errors import ConfigError, DataError, MissingColumnError
from curate.registry import get_scorer
from curate.store.scores.names import MARK, ambiguous, distinct, of_name
from curate.views.charts.numbers import Values

if TYPE_CHECKING:
    from curate.api.selection import StoredSelection
    from curate.contracts.view import View
    from curate.store import ScoreSetStatus, Store

Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

WIDE: Final = 66  # characters there is room for below a chart
HIGH: Final = 52  # and beside one
_FACTS: Final[Mapping[str, str]] = {
    "n_chars": "characters of all messages",
    "n_rows": "rows of the input that are this example",
}
_TOKENS: Final = "length.prompt_tokens + length.response_tokens"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Values of some columns over the examples that have all of them, in order of id.

    ``n_without`` counts the examples of the pool without one of them.
    """

    view: "View"
    names: Sequence[str]
    n_without: int

    def numbers(self, name: str) -> Values:
        """Return a column as numbers, (n,)."""
        return self.view.scores(f"c{self.names.index(name)}")

    def raw(self, name: str) -> np.ndarray[Any, Any]:
        """Return a column in its own type, (n,)."""
        return self.view.column(f"c{self.names.index(name)}")

    @property
    def remark(self) -> str:
        """Note about the examples that are left out."""
        if not self.n_without:
            return ""
        listed = " or ".join(self.names)
        return f"{self.n_without:,} of {self.view.n_pool:,} examples have no {listed}."


def read_columns(store: "Store", *names: str) -> Columns:
    """Read columns, or expressions over them as in ``--where``; examples without a value are left out.

    Raises
    ------
    ExpressionError
        A name or an expression is wrong.
    DataError
        No example has a value for every column.
    """
    view = store.view(bind={}, expressions={f"c{k}": name for k, name in enumerate(names)})
    if not len(view):
        if not view.n_pool:
            raise DataError("the pool is empty; ingest some examples first: pool.ingest(FILE)")
        raise DataError(
            f"no example has a value of {' and '.join(map(repr, names))}; choose another column: "
            "pool.scores().columns lists them"
        )
    return Columns(view, names, view.n_pool - len(view))


def complete_sets(store: "Store") -> dict[str, "ScoreSetStatus"]:
    """Return the score sets complete for the pool by each of their names, oldest first.

    Those that share a name have their ids in it, ``alias@id``, as expressions name them.
    """
    return distinct([status for status in store.score_sets() if status.complete])


def refuse_ambiguous(store: "Store", name: str) -> None:
    """Raise `ConfigError` if several complete score sets have this name; it lists them."""
    meant = of_name(name, [status for status in store.score_sets() if status.complete])
    if len(meant) > 1:
        raise ambiguous(name, meant, {status.set_id: status.spec for status in meant})


def score_columns(store: "Store", kinds: Sequence[str] = ("float", "int")) -> list[str]:
    """Return the score columns of these types as ``alias.column``; raise where there are none."""
    names = [
        f"{alias}.{name}"
        for alias, status in complete_sets(store).items()
        for name, dtype in status.columns.items()
        if dtype in kinds
    ]
    if not names:
        raise MissingColumnError(
            "the pool has no complete scores; score it first: pool.score('likelihood', model=MODEL)"
        )
    return names


def axis_label(store: "Store", name: str, room: int = WIDE) -> str:
    """Return a column's name with its meaning and unit, if there is room."""
    meaning = meaning_of(store, name).partition(";")[0]
    whole = f"{name}: {meaning}" if meaning else name
    return whole if len(whole) <= room else name


def meaning_of(store: "Store", name: str) -> str:
    """Return what a column means, with unit and direction; "" for an expression."""
    alias, _, column = name.rpartition(".")
    status = complete_sets(store).get(alias)
    if status is None or column not in status.columns:
        return _FACTS.get(name, "")
    try:
        return get_scorer(status.scorer).outputs[column].meaning
    except (ConfigError, KeyError):
        return ""  # scored with a package that is not installed here


def vector_set(store: "Store", name: str | None) -> tuple["ScoreSetStatus", str]:
    """Return the score set and the column of vectors to use: the one named, or the newest.

    Raises `ConfigError` where several sets have the name, or the newest shares its name.
    """
    known = {
        f"{alias}.{column}": (status, column)
        for alias, status in complete_sets(store).items()
        for column, dtype in status.columns.items()
        if dtype == "vector"
    }
    if not known:
        raise MissingColumnError(
            "no complete score set has vectors; compute some first: "
            "pool.score('embedding', model=MODEL)"
        )
    if name is None:
        refuse_ambiguous(store, list(known)[-1].rpartition(".")[0].partition(MARK)[0])
        return list(known.values())[-1]
    matching = [vectors for key, vectors in known.items() if name in (key, key.rpartition(".")[0])]
    if not matching:
        refuse_ambiguous(store, name.removesuffix(".vector"))
        raise MissingColumnError(f"no vectors {name!r}; the pool has: {', '.join(known)}")
    return matching[-1]


def lengths(store: "Store") -> tuple[Columns, str, str]:
    """Return each example's length, the column, and its unit: tokens if counted, else characters."""
    if "length" in complete_sets(store):
        return read_columns(store, _TOKENS), _TOKENS, "tokens"
    return read_columns(store, "n_chars"), "n_chars", "characters"


def picked(view: "View", selection: "StoredSelection") -> Mask:
    """Return which examples of a view are in a selection, (n,)."""
    from curate.store.ids import Lookup, id_bytes

    places = Lookup(view.ids)(id_bytes(selection.rows()["id"]))
    mask = np.zeros(len(view), dtype=bool)
    mask[places[places >= 0]] = True
    return mask


def names_of(selections: Sequence["StoredSelection"]) -> list[str]:
    """Return a short, distinct name for each selection."""
    names = []
    for selection in selections:
        d = selection.document
        names.append(" ".join(str(part) for part in (d["method"], d.get("budget")) if part))
    return [
        f"{name} {selection.id[:6]}" if names.count(name) > 1 else name
        for name, selection in zip(names, selections, strict=True)
    ]
