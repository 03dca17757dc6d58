"""Selecting towards a target set: its scores under the pool's keys, and its view beside the pool's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np

from curate.contracts import Need, Procedure, Selection, Selector, View
from curate.contracts.progress import Progress
from curate.errors import ConfigError, StoreError
from curate.registry import get_procedure, get_selector, names
from curate.scoring.again import score_again
from curate.scoring.options import ScoringOptions

if TYPE_CHECKING:
    from curate.store import ScoreSetStatus, Store


@final
@dataclass(frozen=True, slots=True)
class Towards:
    """The target set a selection is towards: what it is, and the score sets that are read of it."""

    name: str
    content_hash: str
    score_sets: Mapping[str, Mapping[str, Any]]
    n_scored: int

    def identity(self) -> dict[str, Any]:
        """Return what a selection's record says of it, and its id depends on."""
        return {
            "name": self.name,
            "content_hash": self.content_hash,
            "score_sets": dict(self.score_sets),
        }


def uses_target(method: str) -> bool:
    """Return whether the selector of this name selects towards a target set."""
    return method in names("selector") and get_selector(method).uses_target


def check_target(store: "Store", method: Selector | Procedure, target: str | None) -> None:
    """Raise `ConfigError` for a target set that is missing, unknown or of no use to a method."""
    if target is None:
        if not method.uses_target:
            return
        have = ", ".join(target_set.name for target_set in store.targets())
        how = f"there are: {have}" if have else "add one with: curate target add NAME DATA"
        raise ConfigError(
            f"method {method.name!r} selects towards a target set; pass --target NAME ({how})"
        )
    store.target(target)
    if not method.uses_target:
        able = [name for name in names("selector") if get_selector(name).uses_target]
        # a property, as of a pipeline, depends on the settings
        able += [n for n in names("procedure") if vars(get_procedure(n)).get("uses_target") is True]
        raise ConfigError(
            f"method {method.name!r} selects towards nothing; leave out --target {target}, or use one "
            f"of: {', '.join(able)}"
        )


def bind_target(
    store: "Store",
    method: Selector,
    target: str,
    bound: "Mapping[str, ScoreSetStatus]",
    scoring: ScoringOptions,
    progress: Progress,
) -> Towards:
    """Find the score sets of a target set that have the keys of the pool's; score what is missing.

    Raises `StoreError` where a score of the pool cannot be computed again, as when its model changed
    meanwhile.
    """
    small = store.target(target)
    own = [alias for alias, need in method.requires().items() if isinstance(need, Need)]
    known = {
        score_set.set_id
        for score_set in small.score_sets()
        if score_set.complete and score_set.content_hash
    }
    n_scored = 0
    for alias in own:
        status = bound[alias]
        if status.set_id in known:
            continue
        progress.note(f"target {target}: scoring {alias} as the pool's")
        set_id = score_again(small, alias, status.spec, scoring, progress)
        if set_id != status.set_id:
            raise StoreError(
                f"score {alias!r} of the pool ({status.set_id}) cannot be computed for target {target!r}: "
                f"its model or template is no longer what it was, as this would be {set_id}; score the "
                f"pool again and select by that: curate score --scorer {status.scorer}"
            )
        n_scored += small.n_examples()
    now = {score_set.set_id: score_set for score_set in small.score_sets()}
    sets = {
        alias: {
            "set_id": bound[alias].set_id,
            "content_hash": now[bound[alias].set_id].content_hash,
        }
        for alias in own
    }
    return Towards(target, small.pool_hash(), sets, n_scored)


def with_target(store: "Store", view: View, target: Mapping[str, Any]) -> View:
    """Return a view with that of a target set in it; ``target`` as `Towards.identity` gives it.

    Raises `StoreError` if the target set now holds other examples, and `ConfigError` if no example
    of it has the scores.
    """
    small = store.target(target["name"])
    if small.pool_hash() != target["content_hash"]:
        raise StoreError(
            f"target set {target['name']!r} now holds other examples than it did; add those it held "
            "under another name: curate target add NAME DATA"
        )
    bind = {alias: score_set["set_id"] for alias, score_set in target["score_sets"].items()}
    beside = small.view(bind=bind)
    if len(beside) == 0:
        reasons = ", ".join(f"{count} {reason}" for reason, count in beside.excluded.items())
        raise ConfigError(f"no example of target {target['name']!r} has the scores: {reasons}")
    return replace(view, target=beside)


def target_warnings(view: View, chosen: Selection, name: str) -> list[str]:
    """Say which examples of a target set were left out, and how many selected ones are in it."""
    beside = view.towards()
    warnings = [
        f"target {name!r}: {count:,} of {beside.n_pool:,} examples are left out: {reason}"
        for reason, count in beside.excluded.items()
    ]
    n_same = int(np.isin(view.ids[chosen.indices], beside.ids).sum())
    return [*warnings, *overlap_warning(n_same, name)]


def overlap_warning(n_same: int, name: str) -> list[str]:
    """Say how many of the selected examples are in a target set too, if any are."""
    if not n_same:
        return []
    warning = (
        f"{n_same:,} of the selected examples are in target {name!r} too, word for word: a model "
        "trained on them cannot be evaluated on them"
    )
    return [warning]


def target_of_procedure(store: "Store", selection_id: str, name: str) -> dict[str, Any]:
    """Return which target set a procedure trained on, and how many of its examples are selected."""
    small = store.target(name)
    chosen = store.selection_rows(selection_id).column("id").to_numpy(zero_copy_only=False)
    n_same = int(np.isin(chosen.astype("S32"), small.view(bind={}).ids).sum())
    return {"name": name, "content_hash": small.pool_hash(), "n_selected": n_same}
