"""Names of score sets: each means exactly one set, and several of one name are told apart by id."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from curate.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

MARK: Final = "@"  # between the name that several sets have and the beginning of an id
_SHOWN: Final = 8  # characters of an id in a name
_ALIAS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_TAKEN: Final = frozenset(
    ("id", "row", "n_rows", "source", "group_id", "n_chars", "dataset", "messages", "prompt", "response")
)  # fmt: skip


class Named(Protocol):
    """What has an id and names: a score set's status, or its shape."""

    @property
    def set_id(self) -> str:
        """Its id, 16 hex digits."""

    @property
    def aliases(self) -> Sequence[str]:
        """Its names."""

    @property
    def complete(self) -> bool:
        """Whether it has every example of the pool, as the pool is now."""


S = TypeVar("S", bound=Named)


def check_alias(alias: str) -> None:
    """Raise `ConfigError` for a name that somebody chose and that no expression could use."""
    if alias.lower() in _TAKEN:
        raise ConfigError(f"--as {alias} is the name of a column of the pool; choose another name")
    if not _ALIAS.fullmatch(alias):
        raise ConfigError(
            f"--as {alias[:80]!r} is no name for a score set; use letters, digits, _ and -, at most 64, "
            "the first one a letter"
        )


def refuse_same_but_case(alias: str, others: Iterable[str]) -> None:
    """Raise `ConfigError` for a name that differs from another in case alone, as SQL does not."""
    same = next(
        (other for other in others if other != alias and other.lower() == alias.lower()), None
    )
    if same is not None:
        raise ConfigError(
            f"the name {alias!r} differs from that of a score set, {same!r}, in case only, and SQL "
            f"cannot tell them apart; use that name, or choose another: curate score --as NAME"
        )


def distinct(sets: Iterable[S]) -> dict[str, S]:
    """Return each set by its names; sets that share a name have their ids in it: ``alias@id``.

    In the order given; a name is at the place of the last set that has it.
    """
    by_name: dict[str, S] = {}
    for alias, named in by_alias(sets).items():
        for score_set in named:
            by_name[alias if len(named) == 1 else with_id(alias, score_set)] = score_set
    return by_name


def by_alias(sets: Iterable[S]) -> dict[str, list[S]]:
    """Return the sets of each name, in the order given; the last name is that of the last set.

    Where a name has complete sets, others are left out: they were computed before the pool changed.
    """
    by_name: dict[str, list[S]] = {}
    for score_set in sets:
        for alias in score_set.aliases:
            by_name[alias] = [*by_name.pop(alias, []), score_set]
    return {alias: preferred(named) for alias, named in by_name.items()}


def with_id(alias: str, score_set: Named) -> str:
    """Return the name that means only this set: ``alias@id``."""
    return f"{alias}{MARK}{score_set.set_id[:_SHOWN]}"


def of_name(name: str, sets: Iterable[S]) -> list[S]:
    """Return the sets a name may mean: those with this alias or, for ``alias@id``, with the id too."""
    alias, mark, prefix = name.rpartition(MARK)
    if not mark:
        alias, prefix = name, ""
    return [
        score_set
        for score_set in sets
        if alias in score_set.aliases and score_set.set_id.startswith(prefix)
    ]


def preferred(named: list[S]) -> list[S]:
    """Return the complete ones of sets with one name or, where none is, all of them."""
    return [score_set for score_set in named if score_set.complete] or named


def ambiguous(
    name: str, sets: Sequence[Named], specs: Mapping[str, Mapping[str, Any]]
) -> ConfigError:
    """Return the error for a name that several sets have; it lists them and what they differ in."""
    configs = [specs[score_set.set_id]["key"]["config"] for score_set in sets]
    differing = [k for k in configs[0] if any(c.get(k) != configs[0][k] for c in configs)]
    alias = name.partition(MARK)[0]
    listed = []
    for score_set, config in zip(sets, configs, strict=True):
        facts = [f"model {models(specs[score_set.set_id]['run'])}"]
        facts += [f"{key}={config.get(key)}" for key in differing]
        listed.append(f"{with_id(alias, score_set)} ({', '.join(facts)})")
    return ConfigError(
        f"{len(sets)} score sets have the name {name!r}: {', '.join(listed)}; write one of these names "
        f"instead, as in {with_id(alias, sets[0])}.COLUMN, or give each a name of its own: "
        "curate score --as NAME"
    )


def specs_of(con: "duckdb.DuckDBPyConnection") -> dict[str, dict[str, Any]]:
    """Return how each score set was computed, by id: its ``key`` and its ``run``."""
    rows = con.execute("select set_id, spec from internal.score_sets").fetchall()
    return {set_id: json.loads(spec) for set_id, spec in rows}


def models(run: Mapping[str, Any]) -> str:
    """Name the models of a score set from its run's record, for messages; ``none`` without one."""
    return ", ".join(dict.fromkeys(_models(run))) or "none"


def _models(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the model of a score set and, for a derived scorer, those of what it reads."""
    if run.get("model"):
        yield str(run["model"])
    for spec in run.get("inputs", {}).values():
        yield from _models(spec["run"])


def all_aliases(con: "duckdb.DuckDBPyConnection") -> set[str]:
    """Return every name that a score set of the store has."""
    rows = con.execute("select distinct unnest(aliases) from internal.score_sets").fetchall()
    return {alias for (alias,) in rows}
