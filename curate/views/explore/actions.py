"""What the page changes: marks, labels, notes, stored selections and exported files."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from curate.errors import ConfigError, DataError
from curate.select.marks import MARKS, label_examples, mark_examples, note_example
from curate.views.explore import selecting
from curate.views.explore.query import Query
from curate.views.explore.session import Session, Undo

Document = Mapping[str, Any]
Action = Callable[[Session, Document], dict[str, Any]]
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "mark": ("a mark", '{"ids": ["..."], "mark": "in"}; "mark" is in, out or null'),
    "label": ("a label", '{"ids": ["..."], "label": "typo", "remove": false}'),
    "note": ("a note", '{"id": "...", "note": "text"}'),
    "undo": ("an undo", "{}"),
    "select": ("a selection", '{"method": "random", "budget": "10%"}'),
    "export": ("an export", '{"selection": "...", "file": "subset.jsonl"}'),
}


def act(session: Session, name: str, body: bytes) -> dict[str, Any]:
    """Carry out what is posted, a JSON document; `ConfigError` for one that cannot be meant."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _not(name) from error
    if not isinstance(asked, dict):
        raise _not(name)
    done = ACTIONS[name](session, asked)
    session.forget_stored()
    return done


def mark(session: Session, asked: Document) -> dict[str, Any]:
    """Mark examples in or out, or clear their marks; remember how they were marked."""
    if "mark" not in asked:
        raise _not("mark")
    ids, wanted = _meant(session, asked, "mark"), asked["mark"]
    if wanted is not None and wanted not in MARKS:
        raise ConfigError(f"mark must be in, out or null, got {wanted!r}")
    before = session.marks()
    counts = mark_examples(session.store, session.marker, ids, wanted)
    groups = {old: [i for i in ids if before.get(i) == old] for old in (*MARKS, None)}
    session.undo = Undo("mark", tuple((old, tuple(same)) for old, same in groups.items() if same))
    return {"marks": counts, "n": len(ids)}


def label(session: Session, asked: Document) -> dict[str, Any]:
    """Give examples a label, or take it away; remember which of them had it."""
    name, remove = _text(asked, "label", "label"), asked.get("remove", False) is True
    ids = _meant(session, asked, "label")
    had = session.labels()
    n = label_examples(session.store, session.marker, ids, name, remove=remove)
    changed = tuple(i for i in ids if (name in had.get(i, ())) == remove)
    session.undo = Undo("label", ((name, changed),), remove=remove)
    return {"label": name, "n": len(ids), "n_labelled": n}


def note(session: Session, asked: Document) -> dict[str, Any]:
    """Write a note beside an example; an empty one is deleted."""
    example_id, words = _text(asked, "id", "note"), asked.get("note")
    if not isinstance(words, str) or any("\ud800" <= c <= "\udfff" for c in words):
        raise _not("note")
    n = note_example(session.store, session.marker, example_id, words)
    return {"n_notes": n, "note": words.strip()}


def undo(session: Session, asked: Document) -> dict[str, Any]:
    """Take the last mark or label back, of as many examples as it changed."""
    del asked
    last = session.undo
    if last is None:
        raise DataError("there is nothing to undo: no mark or label was set since the page started")
    for value, ids in last.groups:
        if last.kind == "mark":
            mark_examples(session.store, session.marker, ids, value)  # type: ignore[arg-type]
        elif ids:
            label_examples(session.store, session.marker, ids, str(value), remove=not last.remove)
    session.undo = None
    return {"n": sum(len(ids) for _, ids in last.groups)}


def _meant(session: Session, asked: Document, name: str) -> list[str]:
    """Return the ids in a document, or those of the examples that satisfy its query."""
    if "query" in asked:
        snapshot = session.snapshot()
        rows = np.flatnonzero(Query.of_json(asked["query"]).mask(session, snapshot))
        if not len(rows):
            raise ConfigError("no example satisfies this query, so there is nothing to mark")
        return snapshot.names(rows)
    if "ids" not in asked:
        raise _not(name)
    ids = asked["ids"]
    if not isinstance(ids, list) or not ids or not all(map(_is_text, ids)):
        raise ConfigError(f"ids must be a list of example ids, got {ids!r}")
    return list(dict.fromkeys(ids))


def _text(asked: Document, key: str, name: str) -> str:
    value = asked.get(key)
    if not _is_text(value):
        raise _not(name)
    return str(value)


def _is_text(given: object) -> bool:
    """Whether this is a text that can be stored: one without half of a surrogate pair."""
    return isinstance(given, str) and given.isprintable()


def _not(name: str) -> ConfigError:
    what, shape = _SHAPES[name]
    return ConfigError(f"{what} must be JSON such as {shape}")


ACTIONS: Final[Mapping[str, Action]] = {
    "mark": mark, "label": label, "note": note, "undo": undo, "select": selecting.select_examples,
    "export": selecting.export_selection,
}  # fmt: skip
