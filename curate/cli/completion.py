"""What a shell completes: names of methods, scorers, ways to train, trainers, selections and columns.

A completion has nowhere to say what is wrong, so where the store cannot be read it offers nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from curate import registry
from curate.api.commands.groups import DEFAULT_STORE
from curate.errors import CurateError
from curate.store.grammar import spelled

if TYPE_CHECKING:
    from curate.registry import Kind
    from curate.store import Store

_Offered = Callable[[typer.Context, str], Iterable[str]]
Completion = Callable[[typer.Context, str], list[str]]

_STORE_WAIT_S: Final = 0.2
_WORD: Final = re.compile(r"[A-Za-z0-9_.\"-]*$")


def completion_of(command: str, option: str) -> Completion | None:
    """Return how the values of an option are completed, by its name in Python; None: as files are."""
    offered = _OFFERED.get(f"{command} {option}") or _OFFERED.get(option)
    if offered is None:
        return None

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return [word for word in offered(ctx, incomplete) if word.startswith(incomplete)]

    return complete


def _registered(kind: "Kind | str", context: typer.Context, beginning: str) -> Iterable[str]:
    """Return registered names and aliases; in a list with commas, each behind what was typed before it."""
    del context
    typed, comma, _ = beginning.rpartition(",")
    known = (*registry.names(kind), *registry.aliases(kind))  # type: ignore[arg-type]
    return [f"{typed}{comma}{name}" for name in known]


def _all_registered(context: typer.Context, beginning: str) -> Iterable[str]:
    return [name for kind in ("scorer", "method") for name in _registered(kind, context, beginning)]


def _fields(context: typer.Context, beginning: str) -> Iterable[str]:
    """Return ``NAME.``, and once that is typed the fields of that method or scorer."""
    del context
    owner, dot, _ = beginning.partition(".")
    kinds = [
        kind
        for kind in ("scorer", "method")
        if owner in (*registry.names(kind), *registry.aliases(kind))
    ]
    if not dot or not kinds:
        return [f"{name}." for kind in ("scorer", "method") for name in registry.names(kind)]
    made = registry.get_scorer(owner) if kinds == ["scorer"] else registry.get_method(owner)
    return [f"{owner}.{field.name}=" for field in registry.describe_fields(made)]


def _nothing(context: typer.Context, beginning: str) -> Iterable[str]:
    del context, beginning
    return []


def _trainers(context: typer.Context, beginning: str) -> Iterable[str]:
    del context, beginning
    from curate.data.write.trainers.known import TRAINERS

    return TRAINERS


def _selections(context: typer.Context, beginning: str) -> Iterable[str]:
    """Return the names of selections, ``latest``, ``latest:METHOD`` and ids."""
    del beginning
    store = _store(context)
    if store is None:
        return []
    known = [row for row in store.status()["selections"] if not row["internal"]]
    names = [str(row["name"]) for row in known if row["name"]]
    methods = dict.fromkeys(f"latest:{row['method']}" for row in known)
    latest = ["latest"] if known else []
    return [*names, *latest, *methods, *(str(row["selection_id"]) for row in known)]


def _columns(context: typer.Context, beginning: str) -> Iterable[str]:
    """Return columns of the score sets for the word that an expression ends with."""
    store = _store(context)
    if store is None:
        return []
    word = _WORD.search(beginning)
    before = beginning[: word.start()] if word else beginning
    known = dict.fromkeys(
        spelled(f"{alias}.{column}")
        for score_set in store.score_sets()
        for alias in score_set.aliases
        for column in score_set.columns
    )
    return [f"{before}{column}" for column in known]


def _targets(context: typer.Context, beginning: str) -> Iterable[str]:
    del beginning
    store = _store(context)
    return [] if store is None else [target.name for target in store.targets()]


def _store(context: typer.Context) -> "Store | None":
    from curate.store import Store

    path = Path(context.params.get("store") or DEFAULT_STORE)
    if not path.is_file():
        return None
    try:
        return Store(path, create=False, wait_s=_STORE_WAIT_S)
    except CurateError:
        return None


_OFFERED: Final[Mapping[str, _Offered]] = {
    "method": partial(_registered, "method"),
    "methods": partial(_registered, "method"),
    "scorer": partial(_registered, "scorer"),
    "scorers": partial(_registered, "scorer"),
    "objective": partial(_registered, "objective"),
    "policy": partial(_registered, "policy"),
    "mixture": partial(_registered, "mixture"),
    "methods name": _all_registered,
    "settings": _fields,
    "train settings": _nothing,  # dotted names of a training run, which are no fields of methods
    "trainer": _trainers,
    "selection": _selections,
    "selections": _selections,
    "from_selection": _selections,
    "towards": _targets,
    "where": _columns,
    "rank": _columns,
}
