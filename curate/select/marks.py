"""What a person marks, labels and notes by hand, stored as selections under that person's name.

None of it changes the pool. ``marked-in-NAME``, ``marked-out-NAME``, ``label-LABEL-NAME`` and
``notes-NAME`` can be given to ``--include`` and ``--exclude``, exported and compared like any other
selection. An example is marked in, out or not at all, and can have several labels; its note is the
reason of its row.
"""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from curate.data.write.manifest import library_versions
from curate.errors import ConfigError, DataError
from curate.select.record import inputs_of
from curate.store.records import BY_HAND, canonical_json, digest, utc_now

if TYPE_CHECKING:
    from curate.store import Store

Mark: TypeAlias = Literal["in", "out"]
MARKS: Final[tuple[Mark, ...]] = ("in", "out")
METHOD: Final = BY_HAND
MOST_NOTE: Final = 2_000  # characters
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}", re.ASCII)


def marks_id(marker: str, mark: Mark) -> str:
    """Return the id of the selection that holds a person's marks.

    Examples
    --------
    >>> marks_id("ana", "out")
    'marked-out-ana'
    """
    return f"{METHOD}-{mark}-{marker}"


def check_marker(name: str) -> str:
    """Return the name of a person who marks; `ConfigError` for one that cannot be part of an id."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"the marker's name {name!r} cannot be part of a selection's id; use 1 to 40 letters, "
            "digits, dots, dashes and underscores, as in --marker ana"
        )
    return name


def mark_examples(
    store: "Store", marker: str, ids: Sequence[str], mark: Mark | None
) -> dict[str, int]:
    """Mark examples in or out, or clear their marks with None; return how many are marked.

    An example is marked in, out, or not at all. `DataError` for an id that is not in the pool;
    nothing is marked then.
    """
    check_marker(marker)
    among = {
        marks_id(marker, kind): _record(
            store, {"marker": marker, "mark": kind}, f"marked {kind} by {marker}"
        )
        for kind in MARKS
    }
    to = None if mark is None else marks_id(marker, mark)
    counts = store.move_examples(ids, to, among)
    return {kind: counts[marks_id(marker, kind)] for kind in MARKS}


def marked(store: "Store", marker: str) -> dict[Mark, list[str]]:
    """Return the ids a person marked in and out, in the order of marking."""
    return {mark: store.listed(marks_id(marker, mark)) for mark in MARKS}


def label_id(marker: str, label: str) -> str:
    """Return the id of the selection that holds the examples a person gave a label.

    Examples
    --------
    >>> label_id("ana", "typo")
    'label-typo-ana'
    """
    return f"label-{label}-{marker}"


def label_examples(
    store: "Store", marker: str, ids: Sequence[str], label: str, *, remove: bool = False
) -> int:
    """Give examples a label, or take it away; return how many then have it.

    `ConfigError` for a label that cannot be written in an expression, `DataError` for an id that is
    not in the pool.
    """
    check_marker(marker)
    if not _LABEL.fullmatch(label):
        raise ConfigError(
            f"a label must be 1 to 40 letters, digits and underscores, beginning with a letter, got "
            f"{label!r}; type one such as needs_work"
        )
    name = label_id(marker, label)
    record = _record(store, {"marker": marker, "label": label}, f"labelled {label} by {marker}")
    return store.move_examples(ids, None if remove else name, {name: record})[name]


def labelled(store: "Store", marker: str) -> dict[str, list[str]]:
    """Return the ids a person gave each label, by label in alphabetical order; none is empty."""
    records = store.read(
        f"select selection_id, config from selections where method = '{METHOD}'"
    ).to_pylist()
    found: dict[str, list[str]] = {}
    for record in records:
        config = json.loads(record["config"])
        if config["marker"] != marker or "label" not in config:
            continue
        if ids := store.listed(record["selection_id"]):
            found[config["label"]] = ids
    return dict(sorted(found.items()))


def notes_id(marker: str) -> str:
    """Return the id of the selection that holds the examples a person wrote a note beside."""
    return f"notes-{marker}"


def note_example(store: "Store", marker: str, example_id: str, text: str) -> int:
    """Write a note beside an example, or delete it with ""; return how many a person's notes are.

    `ConfigError` for a note that is too long, `DataError` for an id that is not in the pool.
    """
    check_marker(marker)
    text = text.strip()
    if len(text) > MOST_NOTE:
        raise ConfigError(f"a note has at most {MOST_NOTE:,} characters, got {len(text):,}")
    name = notes_id(marker)
    record = _record(store, {"marker": marker, "notes": True}, text)
    return store.move_examples([example_id], name if text else None, {name: record})[name]


def noted(store: "Store", marker: str) -> dict[str, str]:
    """Return a person's notes by example."""
    rows = store.read(
        f"select id, reason from selection_rows where selection_id = '{notes_id(marker)}'"
    ).to_pylist()
    return {row["id"]: row["reason"] for row in rows}


def keep_shown(store: "Store", marker: str, ids: Sequence[str]) -> str:
    """Store examples a person looked at as a selection to select within; return its id.

    The same examples have the same id.
    """
    check_marker(marker)
    name = f"shown-{digest(canonical_json(sorted(ids)), 6)}-{marker}"
    record = _record(store, {"marker": marker, "shown": len(ids)}, f"shown to {marker}")
    store.move_examples(ids, name, {name: record})
    return name


def not_marked(config: dict[str, Any]) -> str:
    """Say why an example is not in a selection made by hand, by the ``config`` of its record."""
    if "label" in config:
        return f"{config['marker']} has not labelled it {config['label']}"
    if "notes" in config:
        return f"{config['marker']} has written no note beside it"
    if "shown" in config:
        return f"{config['marker']} did not see it among the examples selected from"
    return f"{config['marker']} has not marked it {config['mark']}"


def with_selections(store: "Store", names: Sequence[str]) -> tuple[str, ...]:
    """Replace each id or name of a stored selection by the ids of its examples.

    Examples of it that are no longer in the pool are left out. Other names stay as they are.
    `DataError` for marks that do not exist.
    """
    from curate.store.results.selection_names import asked_for

    if not names:
        return ()
    known = {i: i for i in store.read("select selection_id from selections")[0].to_pylist()}
    known |= {name: i for i, name in asked_for(store.parts).items() if name and i in known}
    ids: list[str] = []
    for name in names:
        if name not in known and name.startswith(tuple(f"{METHOD}-{mark}-" for mark in MARKS)):
            raise DataError(
                f"no selection {name!r} in the store: nobody of that name has marked an example; "
                "mark some with: curate explore"
            )
        ids += store.listed(known[name], in_pool=True) if name in known else [name]
    return tuple(dict.fromkeys(ids))


def _record(store: "Store", config: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the keys that `curate.select.run` stores, so that readers of selections can read these."""
    datasets = sorted(dataset.dataset_id for dataset in store.datasets())
    return {
        "method": METHOD,
        "config": config,
        "reason": reason,
        "budget": None, "seed": None, "where": None, "include": [], "exclude": [], "quota": {},
        "within": None, "without": [], "datasets": datasets, "score_sets": {}, "specs": {},
        "inputs": inputs_of(store, datasets), "length_ratio": None, "warnings": [],
        "created_at": utc_now(), "versions": library_versions(),
    }  # fmt: skip
