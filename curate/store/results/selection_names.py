"""The names people give to selections, and which selections they made themselves.

Both are in one file beside the parts. Selections of a proof's trials, and those a procedure put
together, are stored like any other; nobody asked for them by themselves, so lists leave them out.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from curate.errors import ConfigError, DataError, did_you_mean
from curate.store.parts import write_json

if TYPE_CHECKING:
    import duckdb

    from curate.store.handle import StoreHandle

LATEST: Final = "latest"
_FILE: Final = "selection-names.json"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{4,32}")


def check_name(name: str) -> None:
    """Raise `ConfigError` for a name that could be taken for something else."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:60]!r} is no name for a selection; use letters, digits, dot, dash and underscore, at "
            "most 100"
        )
    if name == LATEST or _ID.fullmatch(name):
        what = "means the newest one" if name == LATEST else "looks like an id"
        raise ConfigError(
            f"a selection cannot be named {name!r}, which {what}; choose another name"
        )


def asked_for(parts: Path) -> dict[str, str | None]:
    """Return the selections people asked for by id, each with its name or None."""
    path = parts / _FILE
    if not path.exists():
        return {}
    names: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
    return names


def keep(store: "StoreHandle", selection_id: str, name: str | None = None) -> None:
    """Remember that somebody asked for a selection and, if ``name`` is given, its only name.

    Raises `ConfigError` for a name that another selection has.
    """
    if name is not None:
        check_name(name)
    with store.write():
        names = asked_for(store.parts)
        other = next((i for i, known in names.items() if name and known == name), selection_id)
        if other != selection_id:
            raise ConfigError(
                f"selection {other} has the name {name!r}; choose another, or rename that one: "
                f"curate selections rename {other} NEW"
            )
        if selection_id not in names or name is not None:
            write_json(
                store.parts / _FILE, {**names, selection_id: name or names.get(selection_id)}
            )


def forget(parts: Path, selection_id: str) -> None:
    """Drop what is known of a selection that is deleted; in the transaction that deletes it."""
    names = asked_for(parts)
    if names.pop(selection_id, LATEST) != LATEST:
        write_json(parts / _FILE, names)


def internal(con: "duckdb.DuckDBPyConnection", parts: Path) -> set[str]:
    """Return the selections nobody asked for: of trials, and parts of other selections."""
    made = {i for (i,) in con.execute("select selection_id from trials").fetchall()}
    for (manifest,) in con.execute(
        "select manifest from selections where contains(manifest, '\"selections\"')"
    ).fetchall():
        made.update(json.loads(manifest).get("selections") or ())
    return made - asked_for(parts).keys()


def resolve(con: "duckdb.DuckDBPyConnection", parts: Path, text: str) -> str:
    """Return the id of a selection from its id, name, a prefix of its id, or ``latest[:METHOD]``.

    Raises `DataError` for none and for a prefix of several.
    """
    rows = con.execute(
        "select selection_id, method from selections order by created_at desc"
    ).fetchall()
    methods: dict[str, str] = dict(rows)
    if text in methods:
        return text
    names = {name: i for i, name in asked_for(parts).items() if name and i in methods}
    if text in names:
        return names[text]
    if text == LATEST or text.startswith(f"{LATEST}:"):
        return _latest(methods, internal(con, parts), text.partition(":")[2])
    matching = [i for i in methods if i.startswith(text)] if text else []
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise DataError(
            f"selection {text!r} is a prefix of several ids: {', '.join(map(str, matching))}"
        )
    raise DataError(
        f"no selection {text!r} in the store{did_you_mean(text, [*names, LATEST])}; the newest are: "
        f"{_newest(methods, names)}"
    )


def _latest(methods: dict[str, str], hidden: set[str], method: str) -> str:
    shown = {i: made_by for i, made_by in methods.items() if i not in hidden}
    for selection_id, made_by in shown.items():
        if method in ("", made_by):
            return selection_id
    if not shown:
        raise DataError("there is no selection in the store; make one: curate select")
    raise DataError(
        f"no selection by {method!r} in the store{did_you_mean(method, set(shown.values()))}; there are "
        f"some by {', '.join(sorted(set(shown.values())))}"
    )


def _newest(methods: dict[str, str], names: dict[str, str]) -> str:
    called = {i: name for name, i in names.items()}
    return ", ".join(called.get(i, i) for i in list(methods)[:5]) or "none"


def described(con: "duckdb.DuckDBPyConnection", parts: Path) -> dict[str, dict[str, Any]]:
    """Return ``name`` and ``internal`` of every selection by id."""
    hidden = internal(con, parts)
    names = asked_for(parts)
    ids = [i for (i,) in con.execute("select selection_id from selections").fetchall()]
    return {i: {"name": names.get(i), "internal": i in hidden} for i in ids}
