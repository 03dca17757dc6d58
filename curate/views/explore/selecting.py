"""Selecting and exporting from the page, as ``curate select`` and ``curate export`` do."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts import Selector
from curate.contracts.progress import SilentProgress
from curate.data.write.export import export
from curate.errors import ConfigError
from curate.registry import describe, get_method, kind_of, names
from curate.scoring.options import ScoringOptions
from curate.select.bind import find_needs
from curate.select.marks import MARKS, keep_shown, marked, marks_id
from curate.select.options import SelectOptions
from curate.select.run import prepare, select
from curate.views.explore.query import Query
from curate.views.explore.session import Session

if TYPE_CHECKING:
    from curate.store import Store

FORMATS: Final = ("input", "messages", "sharegpt", "alpaca", "prompt-completion")
ENDINGS: Final = (".jsonl", ".parquet", ".csv", ".json", ".arrow")


def methods() -> list[dict[str, str]]:
    """Return the methods the page offers, by name: selectors, with what each does in a sentence.

    A procedure trains or generates between its selections, which takes a terminal.
    """
    found = []
    for name in names("method"):
        method = get_method(name)
        if kind_of(method) == "selector":
            described = describe(method)
            found.append({"name": name, "summary": described.summary, "purpose": described.purpose})
    return found


def select_examples(session: Session, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Select with a method from stored scores, and store the selection.

    ``where``, ``rank``, ``name`` and ``seed`` are those of ``curate select``. ``marks``: include what
    is marked in and exclude what is marked out. ``query``: only among the examples that satisfy it,
    which are stored as a selection of their own, so that the result can be reproduced.

    Raises `ConfigError` for scores that are missing: the page does not compute any.
    """
    given = {key: _optional(asked, key) for key in ("method", "budget", "where", "rank", "name")}
    seed = asked.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"the seed must be a whole number from 0 on, got {seed!r}")
    rank, name = given["rank"], given["name"]
    method = given["method"] or ("top-k" if rank else "random")
    options = SelectOptions(
        method=method, budget=given["budget"], where=given["where"], seed=seed,
        settings={} if rank is None else {"rank": rank},
    )  # fmt: skip
    if asked.get("marks") is True:
        options = _with_marks(session, options)
    _refuse_missing(session.store, options)
    if asked.get("query") is not None:
        options = replace(options, within=_shown(session, asked["query"]))
    with session.ranking:
        record = select(session.store, options, ScoringOptions(), SilentProgress())
    session.store.keep_selection(record["selection_id"], name)
    return {
        "selection_id": record["selection_id"], "method": method,
        "n_selected": record["n_selected"], "n_eligible": record["n_eligible"],
        "n_pool": record["n_pool"], "warnings": list(record["warnings"]),
        "command": _command(session, options, rank, name),
    }  # fmt: skip


def export_selection(session: Session, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Write a selection to a file beside the store, with its manifest.

    ``file`` is a name without a folder; ``to`` is one of `FORMATS`. A file that is no earlier export
    is not replaced.
    """
    selection, file = _optional(asked, "selection"), _optional(asked, "file")
    to = _optional(asked, "to") or FORMATS[0]
    if selection is None or file is None:
        raise ConfigError(
            "an export needs a selection and the name of a file, such as subset.jsonl"
        )
    if Path(file).name != file or file.startswith(".") or not file.endswith(ENDINGS):
        raise ConfigError(
            f"the file must be a name without a folder that ends in {', '.join(ENDINGS)}, got {file!r}"
        )
    if to not in FORMATS:
        raise ConfigError(f"the format must be one of {', '.join(FORMATS)}, got {to!r}")
    folder = session.store.path.resolve().parent
    written = export(
        session.store,
        selection,
        folder / file,
        to=None
        if to == FORMATS[0]
        else to,  # the page begins with it, so it may be nobody's choice
        annotate=asked.get("annotate") is True,
    )
    return {key: written[key] for key in ("output", "manifest", "n_rows", "n_bytes", "warnings")}


def _optional(asked: Mapping[str, Any], key: str) -> str | None:
    value = asked.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isprintable():
        raise ConfigError(f"{key} must be a text on one line, got {value!r}")
    return value.strip() or None


def _with_marks(session: Session, options: SelectOptions) -> SelectOptions:
    """Include what is marked in and exclude what is marked out, where anything is."""
    there = marked(session.store, session.marker)
    chosen = {mark: (marks_id(session.marker, mark),) if there[mark] else () for mark in MARKS}
    return replace(options, include=chosen["in"], exclude=chosen["out"])


def _refuse_missing(store: "Store", options: SelectOptions) -> None:
    """Raise `ConfigError` where a method needs scores that are not stored."""
    ready = prepare(store, options, ScoringOptions())
    if not isinstance(ready.method, Selector):
        raise ConfigError(
            f"{options.method} trains or generates between its selections; run it in a terminal: "
            f"curate select --method {options.method}"
        )
    found = find_needs(store, ready.needs, ready.options, ScoringOptions())
    missing = sorted({*found.runs, *(request.alias for request in found.requests)})
    if missing:
        raise ConfigError(
            f"{options.method} needs scores that are not stored: {', '.join(missing)}; compute them in "
            f"a terminal: curate select --method {options.method} --budget {options.budget or '10%'}"
        )


def _shown(session: Session, query: object) -> str:
    """Store the examples that satisfy a query as a selection; return its id."""
    snapshot = session.snapshot()
    rows = np.flatnonzero(Query.of_json(query).mask(session, snapshot))
    if not len(rows):
        raise ConfigError("no example satisfies this query, so there is nothing to select from")
    return keep_shown(session.store, session.marker, snapshot.names(rows))


def _command(session: Session, options: SelectOptions, rank: str | None, name: str | None) -> str:
    """Return the command that selects the same in a terminal."""
    words = ["curate", "select", "--store", session.store.path.name]
    words += ["--rank", rank] if rank is not None else ["--method", options.method]
    for flag, value in (
        ("budget", options.budget), ("where", options.where), ("within", options.within),
        ("seed", str(options.seed) if options.seed else None), ("name", name),
        *(("include", mark) for mark in options.include),
        *(("exclude", mark) for mark in options.exclude),
    ):  # fmt: skip
        words += [f"--{flag}", value] if value is not None else []
    return shlex.join(words)
