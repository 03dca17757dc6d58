"""What the machine with the store takes from below the URL: the parts that have arrived, each verified."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from curate.contracts.display import counted
from curate.errors import ConfigError
from curate.scoring.remote.places import (
    PLAN,
    RECORD,
    REFUSED,
    Arrivals,
    budgets_of,
    flaw_of,
    ids_digest,
    part_folder,
)
from curate.store.object_errors import without_secrets
from curate.store.objects import Objects

if TYPE_CHECKING:
    from curate.store import ScoreSet, Shard, Store

AT_ONCE: Final = 8  # parts that are copied together
NAMED: Final = 12  # ignored parts that are named one by one


@final
@dataclass(frozen=True, slots=True)
class _Wanted:
    """A part that the store lacks, and the folder of the tries at it."""

    made: "ScoreSet"
    shard: "Shard"
    folder: str


def collect(store: "Store", objects: Objects) -> tuple[str, ...]:
    """Copy every part that the store lacks and that is whole; say which are ignored, and why.

    Of several tries at a part the first valid one counts, in the order of their names. One that is
    not whole is marked so that a slice that is run again scores its shard again. Nothing is committed
    yet: the parts lie where this machine's own would.

    Raises `ConfigError` where no plan is published.
    """
    if objects.read(PLAN) is None:
        raise ConfigError(
            f"no plan is published at {objects}, so nothing can have arrived there; correct --parts, or publish "
            "first: curate score --scorer NAME --parts URL --plan-only"
        )
    there = Arrivals.below(objects)
    wanted = list(_wanted(store, there))
    notes: list[str] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for flaws in pool.map(lambda each: _bring(objects, there, each), wanted):
            notes += flaws
    notes += _of_others(objects, there, wanted, store)
    if len(notes) > NAMED:
        notes[NAMED:] = [f"and {len(notes) - NAMED:,} more below {objects} are ignored"]
    return tuple(notes)


def _wanted(store: "Store", there: Arrivals) -> Iterator[_Wanted]:
    digests: dict[str, str] = {}
    arrived = {folder.split("/")[1].rpartition("-")[0] for folder in there.folders}
    with store.held():
        shards = store.shards()
        for status in store.score_sets():
            made = store.find_score_set(status.set_id)
            if made is None or made.set_id not in arrived:
                continue
            cut = budgets_of(made.run)
            for shard in store.pending_shards(made, shards)[0]:
                if shard.shard_id not in digests:
                    digests[shard.shard_id] = ids_digest(shard.path)
                ids = digests[shard.shard_id]
                yield _Wanted(made, shard, part_folder(made.set_id, cut, shard.shard_id, ids))


def _bring(objects: Objects, there: Arrivals, wanted: _Wanted) -> list[str]:
    """Copy the first valid try at a part; return what is said of those before it."""
    target = wanted.made.part(wanted.shard.shard_id)
    folder = wanted.folder
    flaws = {
        attempt: _reason(objects, folder, attempt)
        for attempt in there.attempts(folder, refused=True)
    }
    then = "run its slice again to score the shard again"
    for attempt in there.attempts(folder):
        flaw = flaw_of(objects, there.sizes, folder, attempt, target)
        if not flaw:
            then = "another try at the same part is whole and counts"
            break
        objects.write(f"{folder}/{attempt}{REFUSED}", flaw.encode())
        flaws[attempt] = flaw
    return [
        f"{objects.place(f'{folder}/{attempt}{RECORD}')} is ignored: {flaw}; {then}"
        for attempt, flaw in flaws.items()
    ]


def _reason(objects: Objects, folder: str, attempt: str) -> str:
    text = objects.read(f"{folder}/{attempt}{REFUSED}") or b""
    return without_secrets(text.decode("utf-8", "replace")[:200])


def _of_others(
    objects: Objects, there: Arrivals, wanted: Sequence[_Wanted], store: "Store"
) -> Iterator[str]:
    """Say which parts are of another plan: of other sets, other batches, or shards as they no longer are."""
    own = {each.folder for each in wanted}
    lacking = {(each.made.set_id, each.shard.shard_id) for each in wanted}
    known = {status.set_id for status in store.score_sets()}
    strange: dict[str, int] = {}
    for folder in there.folders:
        names = folder.split("/")[1:]
        ids = tuple(name.rpartition("-")[0] for name in names)
        if folder not in own and (ids[0] not in known or ids in lacking):
            strange[names[0]] = strange.get(names[0], 0) + 1
    for set_name, n in strange.items():
        yield (
            f"{counted(n, 'part')} below {objects.place(f'parts/{set_name}')} {'is' if n == 1 else 'are'} of "
            "another plan and ignored: a score set that this store has not, or shards with other examples"
        )
