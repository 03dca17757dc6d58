"""What one explore page knows about its store: a snapshot, renewed when the store has changed."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import numpy as np

from curate.errors import StoreError
from curate.select.marks import MARKS, METHOD, labelled, marked, marks_id, noted, notes_id
from curate.views.selected import SelectedRows, read_selected

if TYPE_CHECKING:
    from curate.store import Store
    from curate.store.query.snapshot import Snapshot

T = TypeVar("T")
STORED: Final = "stored"  # begins the keys of what depends on stored selections
REMEMBERED: Final = 48  # masks, orders and bins of one snapshot, 1 to 8 bytes an example each


@final
@dataclass(frozen=True, slots=True)
class Undo:
    """How some examples were marked or labelled before the last change.

    Parameters
    ----------
    kind
        ``mark`` or ``label``.
    groups
        An earlier mark, or the label, and the examples it concerns.
    remove
        Whether the label was taken away.
    """

    kind: str
    groups: tuple[tuple[str | None, tuple[str, ...]], ...]
    remove: bool = False


@final
class Session:
    """One explore page. Each request opens the store for at most one query, often for none.

    Parameters
    ----------
    store
        Opened with a short ``wait_s``: while a job holds the store, answers come from the last
        snapshot, and `notice` says so.
    marker
        Who marks; see `curate.select.marks`.
    """

    def __init__(self, store: "Store", marker: str) -> None:
        self.store = store
        self.marker = marker
        self.notice = ""
        self.undo: Undo | None = None
        self.ranking = threading.RLock()  # held by what ranks the pool, which takes memory
        self._lock = threading.RLock()
        self._stat: tuple[int, ...] = ()
        self._snapshot: Snapshot | None = None
        self._taken = ""
        self._selections: dict[str, SelectedRows] = {}
        self._marks: dict[str, str] = {}
        self._labels: dict[str, list[str]] = {}
        self._notes: dict[str, str] = {}
        self._memory: OrderedDict[Hashable, Any] = OrderedDict()
        self._generation = 0

    def snapshot(self) -> "Snapshot":
        """Return the current pool, or the last known one while a job holds the store."""
        with self._lock:
            stat = self._file_state()
            if self._snapshot is None:
                self._read()
                self._stat = stat
            elif stat != self._stat:
                try:
                    self._read()
                    self._stat, self.notice = stat, ""
                except StoreError as error:
                    self.notice = f"shown as of {self._taken}: {error}"
            assert self._snapshot is not None
            return self._snapshot

    def selections(self) -> list[SelectedRows]:
        """Return the stored selections, oldest first; of marks, only those of this marker."""
        self.snapshot()
        return list(self._selections.values())

    def selection(self, selection_id: str) -> SelectedRows:
        """Return a stored selection by its id or id prefix; `DataError` if there is none.

        Marks of this marker that do not exist yet are an empty selection.
        """
        self.snapshot()
        if selection_id not in self._selections:
            mine = {marks_id(self.marker, mark) for mark in MARKS} | {notes_id(self.marker)}
            if selection_id in mine:
                return SelectedRows(selection_id, METHOD, None, "", np.zeros(0, dtype=np.int64))
            selection_id = str(self.store.selection(selection_id)["selection_id"])
        return self._selections[selection_id]

    def marks(self) -> dict[str, str]:
        """Return ``in`` or ``out`` by the id of each marked example."""
        self.snapshot()
        return self._marks

    def labels(self) -> dict[str, list[str]]:
        """Return the labels of each labelled example, in alphabetical order."""
        self.snapshot()
        return self._labels

    def notes(self) -> dict[str, str]:
        """Return the note beside each example that has one."""
        self.snapshot()
        return self._notes

    def forget_stored(self) -> None:
        """Read the stored selections again with the next request."""
        with self._lock:
            self._stat = ()

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what was computed for a key since the last snapshot, or compute it."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                value: T = self._memory[key]
                return value
            began = self._generation
        made = make()
        with self._lock:
            if self._generation != began:
                return made  # of a snapshot that is gone
            self._memory[key] = made
            while len(self._memory) > REMEMBERED:
                self._memory.popitem(last=False)
        return made

    def _file_state(self) -> tuple[int, ...]:
        try:
            stat = self.store.path.stat()
        except FileNotFoundError as error:
            raise StoreError(
                f"the store {self.store.path} was deleted; stop and start again"
            ) from error
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> None:
        """Read snapshot, selections and marks; if any of them fails, none changes."""
        snapshot = self._snapshot
        known = {
            (selection.selection_id, selection.created_at): selection
            for selection in self._selections.values()
        }
        with self.store.held():
            if snapshot is None or self.store.state() != snapshot.state:
                snapshot, known = self.store.snapshot(), {}
            selections = _stored(self.store, snapshot, known)
            by_mark = marked(self.store, self.marker)
            by_label, notes = labelled(self.store, self.marker), noted(self.store, self.marker)
        for key in list(self._memory):
            if snapshot is not self._snapshot or (isinstance(key, tuple) and key[0] == STORED):
                del self._memory[key]
        self._snapshot, self._selections = snapshot, selections
        self._marks = {i: mark for mark, ids in by_mark.items() for i in ids}
        self._labels, self._notes = {}, notes
        for label, ids in by_label.items():
            for i in ids:
                self._labels.setdefault(i, []).append(label)
        self._generation += 1
        self._taken = datetime.now().strftime("%H:%M:%S")


def _stored(
    store: "Store", snapshot: "Snapshot", known: Mapping[tuple[str, str], SelectedRows]
) -> dict[str, SelectedRows]:
    """Return the stored selections by id, oldest first; known ones are not read again."""
    records = store.read(
        "select selection_id, method, budget, created_at from selections "
        "order by created_at, selection_id"
    ).to_pylist()
    keys = [(record["selection_id"], record["created_at"]) for record in records]
    unread = [record for record, key in zip(records, keys, strict=True) if key not in known]
    read = {
        selection.selection_id: selection for selection in read_selected(store, snapshot, unread)
    }
    return {key[0]: read.get(key[0]) or known[key] for key in keys}
