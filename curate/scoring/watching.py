"""How far scoring is: what runs, what was interrupted, how fast it goes and what is left."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from curate.scoring.executors.course import n_kept
from curate.scoring.shard_log import RunRecord
from curate.store.parts import UNFINISHED
from curate.store.records import utc_now
from curate.store.scores import shard_runs

if TYPE_CHECKING:
    from curate.store import ScoreSetStatus, Shard, Store

RUNNING: Final = "running"
INTERRUPTED: Final = "interrupted"
COMPLETE: Final = "complete"


def watched(store: "Store") -> dict[str, Any]:
    """Return the progress of the score sets, and what each worker did: a document of JSON.

    A set is ``running`` while the process that scores it lives, ``interrupted`` where something is
    missing and nobody scores it, else ``complete``; complete ones that no run has just filled are
    left out, as are those of an earlier pool. Parts that are not committed yet count. Opens the
    store's file once, and reads neither examples nor scores. O(shards).
    """
    with store.held():
        shards = store.shards()
        statuses = store.score_sets()
        with store.connect() as con:
            speeds = shard_runs.speeds(con)
            workers = shard_runs.workers(con)
        done = _n_done(store, [s for s in statuses if not s.complete], shards)
    runs = RunRecord.all_in(store.parts)
    n_pool = sum(shard.n_examples for shard in shards)
    live = {set_id for run in runs if run.is_alive for set_id in run.n_examples}
    return {
        "time": utc_now(),
        "store": str(store.path),
        "n_examples": n_pool,
        "score_sets": [
            _progress(status, done.get(status.set_id, n_pool), n_pool, runs, speeds)
            for status in statuses
            if status.set_id in live or not (status.complete or status.stale)
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
    return {set_id: n for set_id, n in n_kept(store.parts, pending).items() if n}


def _n_done(
    store: "Store", statuses: Sequence["ScoreSetStatus"], shards: Sequence["Shard"]
) -> dict[str, int]:
    """Return the examples of the shards whose parts are committed or written, and those kept of others."""
    pending = _pending(store, [s for s in statuses if not s.partial], shards)
    kept = n_kept(store.parts, pending)
    n_pool = sum(shard.n_examples for shard in shards)
    done = {s.set_id: s.n_examples for s in statuses if s.partial}
    for set_id, without in pending.items():
        done[set_id] = n_pool - sum(shard.n_examples for shard in without) + kept[set_id]
    return done


def _pending(
    store: "Store", statuses: Sequence["ScoreSetStatus"], shards: Sequence["Shard"]
) -> dict[str, list["Shard"]]:
    """Return the shards of each score set that have neither a committed part nor a written one."""
    found = {}
    for status in statuses:
        made = store.find_score_set(status.set_id)
        assert made is not None
        found[status.set_id] = store.pending_shards(made, shards)[0]
    return found


def _progress(
    status: "ScoreSetStatus",
    n_done: int,
    n_pool: int,
    runs: Sequence[RunRecord],
    speeds: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    own = [run for run in runs if status.set_id in run.n_examples]
    alive = [run for run in own if run.is_alive]
    speed = speeds.get(status.set_id, {})
    n_left = max(n_pool - n_done, 0)
    n_workers = sum(run.n_workers for run in alive) or (own[-1].n_workers if own else 1)
    of_one = speed.get("examples_per_s")
    per_s = of_one * n_workers if of_one else _rate_of_runs(alive, status.set_id, n_left)
    return {
        "set_id": status.set_id,
        "alias": status.alias,
        "state": RUNNING if alive else COMPLETE if status.complete else INTERRUPTED,
        "n_done": n_done,
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
