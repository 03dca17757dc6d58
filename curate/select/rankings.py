"""Rankings of stored selections, recomputed from stored scores and kept for the next question."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import Expression, Need, Selection, Selector, View
from curate.contracts.budget import Budget
from curate.contracts.settings import settings_of
from curate.registry import build, get_method
from curate.select.choose import rank, with_shares
from curate.select.record import LENGTH_ALIAS, quota_of
from curate.select.share_columns import with_share_columns
from curate.select.shares import Shares
from curate.select.towards import with_target

if TYPE_CHECKING:
    import pyarrow as pa
    from jaxtyping import Int

    from curate.store import Store

MOST_BYTES: Final = 1024**3


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Everything a selection's method ranks, best first.

    Parameters
    ----------
    selection
        Rows, gains and what was excluded, forced picks in front and without what a share left out;
        its reasons are in ``reasons``, which takes a third of the memory.
    considered
        Rows in order of the method alone: with a quota or mix more than in ``selection``.
    agrees
        Whether its first rows are those that are stored.
    """

    selection: Selection
    reasons: "pa.LargeStringArray | None"
    considered: "Int[np.ndarray, ' m']"
    agrees: bool


@final
class StoredRanking:
    """A stored selection: its record and rows, and once asked for what its method sees and ranks."""

    def __init__(self, store: "Store", selection_id: str) -> None:
        self._store = store
        self._view: View | None = None
        self._ranked: Ranked | None = None
        with store.held():
            self.record: Mapping[str, Any] = store.selection(selection_id)
            self._kept = store.selection_rows(selection_id)["id"].combine_chunks()
            self.hashes = {one.set_id: one.content_hash for one in store.score_sets()}
        self.n_kept = len(self._kept)

    @property
    def shares(self) -> Shares:
        """Its quotas and its mix."""
        return Shares(quota_of(self.record), self.record.get("mix", {}))

    @property
    def is_of_own_size(self) -> bool:
        """Whether its shares are of what the method keeps by itself, as no budget was given."""
        return self.record["budget"] is None and self.shares.depend_on_size

    def satisfies(self, example: str) -> bool:
        """Whether an example satisfies its condition, whatever the method reads of it. One query."""
        where, sets = self.record["where"], sets_of(self.record)
        ids = self._store.view(bind={}, where=where, named=sets).ids
        return bool(np.isin(np.array([example], dtype="S32"), ids).all())

    def view(self) -> View:
        """Return the examples that were eligible, after `ranked` without what only the method reads."""
        if self._view is None:
            view = _view_of(self._store, self._method(), self.record)
            columns, datasets = self.shares.columns, self.record["datasets"]
            sets = sets_of(self.record)
            self._view = with_share_columns(self._store, view, columns, sets, datasets)
        return self._view

    def ranked(self) -> Ranked:
        """Return what its method ranks, computed the first time: the cost of the selection itself."""
        if self._ranked is None:
            view, record = self.view(), self.record
            alone = self._alone(view)
            budget = None if record["budget"] is None else Budget.parse(record["budget"])
            everything = with_shares(alone, view, record["include"], self.shares, budget)
            first = view.ids[everything.indices[: self.n_kept]].astype("U32").tolist()
            self._ranked = Ranked(
                replace(everything, reasons=None), _compact(everything), alone.indices,
                first == self._kept.to_pylist(),
            )  # fmt: skip
            left = {name: view.columns[name] for name in self.shares.columns}
            self._view = replace(view, columns=left, vectors_by_column={}, target=None)
        return self._ranked

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept, those included that it shares with other rankings of the store."""
        arrays: list[Any] = [self._kept]
        if self._view is not None:
            view = self._view
            arrays += [view.ids, view.groups, view.sources, view.tokens, *view.columns.values()]
        if self._ranked is not None:
            found = self._ranked
            arrays += [found.selection.indices, found.selection.gains, found.reasons]
            if found.considered is not found.selection.indices:
                arrays.append(found.considered)
        return sum(int(array.nbytes) for array in arrays if array is not None)

    def _alone(self, view: View) -> Selection:
        """Return what its method ranks before quotas, or what it keeps where that is what they share."""
        method, seed = self._method(), self.record["seed"]
        if self.is_of_own_size:
            return method.select(view, None, np.random.default_rng(seed))
        return rank(method, view, seed)

    def _method(self) -> Selector:
        cls = get_method(self.record["method"])
        assert issubclass(cls, Selector)
        return build(cls, settings_of(self.record["config"]))


@final
class Rankings:
    """Rankings of one state of a store: who asks about the next example need not compute them again.

    Valid until the store changes. At most ``most_bytes``, the longest unused dropped first, but
    always the last one.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, StoredRanking] = OrderedDict()

    def of(self, store: "Store", selection_id: str) -> StoredRanking:
        """Return that of a stored selection, by its full id."""
        self._trim()
        if selection_id not in self._kept:
            self._kept[selection_id] = StoredRanking(store, selection_id)
        self._kept.move_to_end(selection_id)
        return self._kept[selection_id]

    def _trim(self) -> None:
        held = {name: one.nbytes for name, one in self._kept.items()}
        while len(held) > 1 and sum(held.values()) > self._most_bytes:
            longest_unused, _ = self._kept.popitem(last=False)
            del held[longest_unused]


def sets_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the score sets of a selection's record, by alias."""
    return {alias: score_set["set_id"] for alias, score_set in record["score_sets"].items()}


def _view_of(store: "Store", method: Selector, record: Mapping[str, Any]) -> View:
    needs = method.requires()
    read = {alias for alias, need in needs.items() if isinstance(need, Need)}
    read |= set() if record["n_tokens"] is None else {LENGTH_ALIAS}
    sets = sets_of(record)
    bound = {alias: set_id for alias, set_id in sets.items() if alias in read}
    view = store.view(
        bind=bound,
        expressions={a: need.text for a, need in needs.items() if isinstance(need, Expression)},
        where=record["where"],
        datasets=record["datasets"],
        within=record["within"],
        exclude=record["exclude"],
        tokens_set=bound.get(LENGTH_ALIAS),
        named={alias: set_id for alias, set_id in sets.items() if alias not in read},
    )
    return with_target(store, view, record["target"]) if "target" in record else view


def _compact(selection: Selection) -> "pa.LargeStringArray | None":
    import pyarrow as pa

    reasons = selection.reasons
    return None if reasons is None else pa.array(list(reasons), pa.large_string())
