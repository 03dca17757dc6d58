"""How far scoring is: what runs, what was interrupted, how fast it goes and what is left."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from curate.scoring.executors.course import n_kept
from curate.scoring.scope import n_in_scope
from curate.scoring.shard_log import RunRecord
from curate.store.parts import UNFINISHED
from curate.store.records import PART_INPUT, utc_now
from curate.store.scores import shard_runs

if TYPE_CHECKING:
    from curate.store import ScoreSetStatus, Shard, Store

RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
COMPLETE: Final = "complete"


@final
@dataclass(frozen=True, slots=True)
class _Reach:
    """How far a score set is: its examples that are done, also of shards under way, and those left."""

    n_done: int
    n_left: int
    is_complete: bool


def watched(store: "Store") -> dict[str, Any]:
    """Return the progress of the score sets, and what each worker did: a document of JSON.

    A set is ``running`` while the process that scores it lives, ``interrupted`` where something is
    missing and nobody scores it, else ``complete``; complete ones that no run has just filled are
    left out, as are those of an earlier pool. A set of some examples alone is complete with these.
    Parts that are not committed yet count. Opens the store's file once, and reads neither examples nor
    scores. O(shards).
    """
    with store.held():
        shards = store.shards()
        statuses = store.score_sets()
        with store.connect() as con:
            speeds = shard_runs.speeds(con)
            workers = shard_runs.workers(con)
            n_committed = shard_runs.n_committed(con)
        pending = _pending(store, [s for s in statuses if not s.complete], shards)
    kept = _kept(store, pending)
    runs = RunRecord.all_in(store.parts)
    n_pool = sum(shard.n_examples for shard in shards)
    live = {set_id for run in runs if run.is_alive for set_id in run.n_examples}
    reached = {
        s.set_id: _Reach(n_pool, 0, True)
        if s.complete
        else _reach(
            store, s, n_pool, n_committed.get(s.set_id, 0), kept[s.set_id], *pending[s.set_id]
        )
        for s in statuses
    }
    return {
        "time": utc_now(),
        "store": str(store.path),
        "n_examples": n_pool,
        "score_sets": [
            _progress(status, reached[status.set_id], runs, speeds)
            for status in statuses
            if status.set_id in live or not (reached[status.set_id].is_complete or status.stale)
        ],
        "workers": workers,
    }


def kept_of_shards(store: "Store") -> dict[str, int]:
    """Return how many examples are kept, about, of shards that a run left unfinished, by score set.

    Sets of which nothing is kept are left out. Reads the store only where something is kept.
    """
    if not any((store.parts / UNFINISHED).glob("*")):
        return {}
    with store.held():
        unfinished = [s for s in store.score_sets() if not (s.complete or s.partial or s.stale)]
        pending = _pending(store, unfinished, store.shards())
    return {set_id: n for set_id, n in _kept(store, pending).items() if n}


def _kept(
    store: "Store", pending: Mapping[str, tuple[Sequence["Shard"], Sequence["Shard"]]]
) -> dict[str, int]:
    """Return the examples that are kept, about, of the shards that lack a part."""
    return n_kept(store.parts, {set_id: without for set_id, (without, _) in pending.items()})


def _pending(
    store: "Store", statuses: Sequence["ScoreSetStatus"], shards: Sequence["Shard"]
) -> dict[str, tuple[list["Shard"], list["Shard"]]]:
    """Return the shards of each score set without a part, and those whose part is not committed."""
    found = {}
    for status in statuses:
        made = store.find_score_set(status.set_id)
        assert made is not None
        found[status.set_id] = store.pending_shards(made, shards)
    return found


def _reach(
    store: "Store",
    status: "ScoreSetStatus",
    n_pool: int,
    n_committed: int,
    kept: int,
    without: Sequence["Shard"],
    written: Sequence["Shard"],
) -> _Reach:
    """Return how far a set is by the shards ``without`` a part, and those whose part is not committed."""
    if not status.partial:
        n_left = sum(shard.n_examples for shard in without) - kept
        return _Reach(n_pool - n_left, n_left, False)
    n_done = n_committed + kept
    n_asked = n_in_scope(store, status.spec["key"]["inputs"][PART_INPUT])
    n_left = max((n_pool if n_asked is None else n_asked) - n_done, 0) if without else 0
    return _Reach(n_done, n_left, not n_left and not written)


def _progress(
    status: "ScoreSetStatus",
    reach: _Reach,
    runs: Sequence[RunRecord],
    speeds: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    own = [run for run in runs if status.set_id in run.n_examples]
    alive = [run for run in own if run.is_alive]
    speed = speeds.get(status.set_id, {})
    n_left = reach.n_left
    n_workers = sum(run.n_workers for run in alive) or (own[-1].n_workers if own else 1)
    of_one = speed.get("examples_per_s")
    per_s = of_one * n_workers if of_one else _rate_of_runs(alive, status.set_id, n_left)
    return {
        "set_id": status.set_id,
        "alias": status.alias,
        "state": RUNNING if alive else COMPLETE if reach.is_complete else INTERRUPTED,
        "n_done": reach.n_done,
        "n_left": n_left,
        "n_workers": n_workers,
        "examples_per_s": None if per_s is None else round(per_s, 2),
        "seconds_left": round(n_left / per_s, 1) if per_s else None,
        "tokens_per_s": speed.get("tokens_per_s"),
        "padding": speed.get("padding"),
        "n_retries": speed.get("n_retries", 0),
        "peak_mib": speed.get("peak_mib"),
    }


def _rate_of_runs(alive: Sequence[RunRecord], set_id: str, n_left: int) -> float | None:
    """Return the examples a second since the runs of a set began; None before the first shard.

    For parts that nobody has committed yet, as those of slices.
    """
    if not alive:
        return None
    n_asked = sum(run.n_examples[set_id] for run in alive)
    seconds = time.time() - min(run.began_at for run in alive)
    n_scored = n_asked - n_left
    return n_scored / seconds if n_scored > 0 and seconds > 0 else None
