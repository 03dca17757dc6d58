"""Examples a person marks in or out by hand, stored as two selections under that person's name.

They never change the pool. ``marked-in-NAME`` and ``marked-out-NAME`` can be given to ``--include``
and ``--exclude``, exported and compared like any other selection.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from curate.data.write.manifest import library_versions
from curate.errors import ConfigError, DataError
from curate.select.record import inputs_of
from curate.store.records import utc_now

if TYPE_CHECKING:
    from curate.store import Store

Mark: TypeAlias = Literal["in", "out"]
MARKS: Final[tuple[Mark, ...]] = ("in", "out")
METHOD: Final = "marked"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)


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
    among = {marks_id(marker, kind): _record(store, marker, kind) for kind in MARKS}
    to = None if mark is None else marks_id(marker, mark)
    counts = store.move_examples(ids, to, among)
    return {kind: counts[marks_id(marker, kind)] for kind in MARKS}


def marked(store: "Store", marker: str) -> dict[Mark, list[str]]:
    """Return the ids a person marked in and out, in the order of marking."""
    return {mark: store.listed(marks_id(marker, mark)) for mark in MARKS}


def with_selections(store: "Store", names: Sequence[str]) -> tuple[str, ...]:
    """Replace each name that is the id of a stored selection by the ids of its examples.

    Examples of it that are no longer in the pool are left out. Other names stay as they are.
    `DataError` for marks that do not exist.
    """
    if not names:
        return ()
    known = set(store.query("select selection_id from selections")["selection_id"].to_pylist())
    ids: list[str] = []
    for name in names:
        if name not in known and name.startswith(tuple(f"{METHOD}-{mark}-" for mark in MARKS)):
            raise DataError(
                f"no selection {name!r} in the store: nobody of that name has marked an example; "
                "mark some with: curate explore"
            )
        ids += store.listed(name, in_pool=True) if name in known else [name]
    return tuple(dict.fromkeys(ids))


def _record(store: "Store", marker: str, mark: Mark) -> dict[str, Any]:
    """Return the keys that `curate.select.run` stores, so that readers of selections can read these."""
    datasets = sorted(dataset.dataset_id for dataset in store.datasets())
    return {
        "method": METHOD,
        "config": {"marker": marker, "mark": mark},
        "reason": f"marked {mark} by {marker}",
        "budget": None, "seed": None, "where": None, "include": [], "exclude": [], "quota": {},
        "within": None, "without": [], "datasets": datasets, "score_sets": {}, "specs": {},
        "inputs": inputs_of(store, datasets), "length_ratio": None, "warnings": [],
        "created_at": utc_now(), "versions": library_versions(),
    }  # fmt: skip
