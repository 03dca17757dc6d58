"""`curate commit`: takes the parts that slices and stopped runs have left into the database."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts.display import counted
from curate.scoring.slices import FolderRecords, Slice, SliceRecord
from curate.store.objects import Objects
from curate.store.scores.sets import unfinished

if TYPE_CHECKING:
    from curate.store import ScoreSet, Shard, Store
    from curate.store.sealed import DamagedPart

NAMED: Final = 12  # slices that one line names


@final
@dataclass(frozen=True, slots=True)
class ArrivedSet:
    """One score set: the shards that came in now, those it has, and those of the pool."""

    set_id: str
    alias: str
    n_committed: int
    n_done: int
    n_shards: int


@final
@dataclass(frozen=True, slots=True)
class CommitReport:
    """What came in, and what is said of the slices: which are missing, late, or ran twice."""

    sets: tuple[ArrivedSet, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the document that `commit --json` prints."""
        return {"score_sets": [asdict(made) for made in self.sets], "notes": list(self.notes)}


def commit_arrived(store: "Store", parts: str | None = None) -> CommitReport:
    """Commit every finished part that is not in the database yet; safe to repeat at any time.

    ``parts`` is the URL below which slices have left theirs: those that are whole are copied first.
    Records of slices are removed once their score sets are complete, those of killed runs too; one that
    still runs writes its own again. Damaged parts are removed, and named in the notes.
    """
    records = SliceRecord.all_in(FolderRecords(store.parts))
    ignored: tuple[str, ...] = ()
    if parts is not None:
        from curate.scoring.remote.collect import collect
        from curate.scoring.remote.work import ObjectRecords

        objects = Objects.at(parts)
        ignored = collect(store, objects)
        records += SliceRecord.all_in(ObjectRecords(objects))
    awaited = {set_id for record in records for set_id in record.sets}
    arrived: list[ArrivedSet] = []
    damaged: list[str] = []
    missing: dict[str, set[str]] = {}
    with store.held():
        shards = store.shards()
        seen = list(_seen(store, shards))
        with store.connect() as con:
            behind = unfinished(con)
    for made, without, finished in seen:
        found: list[DamagedPart] = []
        if finished or made.set_id in behind:
            with store.held():
                store.commit_parts(made, [shard.shard_id for shard in finished], found)
                store.finish(made)
                without = store.pending_shards(made, shards)[0]  # some were of before a forgetting
            damaged += [f"{made.alias}: {part}; score its shard again" for part in found]
        missing[made.set_id] = {shard.shard_id for shard in without}
        if finished or made.set_id in awaited:
            n_done = len(shards) - len(without)
            n_new = len(finished) - len(found)
            arrived.append(ArrivedSet(made.set_id, made.alias, n_new, n_done, len(shards)))
    notes = (*ignored, *damaged, *_notes(records, shards, missing))
    return CommitReport(tuple(arrived), notes)


def _seen(
    store: "Store", shards: Sequence["Shard"]
) -> Iterator[tuple["ScoreSet", list["Shard"], list["Shard"]]]:
    """Yield every score set with the shards that lack a part and those whose part is not committed."""
    for status in store.score_sets():
        made = store.find_score_set(status.set_id)
        assert made is not None
        yield made, *store.pending_shards(made, shards)


def _notes(
    records: Sequence[SliceRecord], shards: Sequence["Shard"], missing: Mapping[str, set[str]]
) -> Iterator[str]:
    jobs: dict[tuple[int, frozenset[str]], list[SliceRecord]] = {}
    for record in records:
        jobs.setdefault((record.of, frozenset(record.sets)), []).append(record)
    for (of, set_ids), runs in jobs.items():
        lacking = set().union(*(missing.get(set_id, ()) for set_id in set_ids))
        yield from _of_job(of, runs, shards, lacking)
        if not lacking:
            for record in runs:
                record.remove()


def _of_job(
    of: int, runs: Sequence[SliceRecord], shards: Sequence["Shard"], lacking: set[str]
) -> Iterator[str]:
    names = ", ".join(sorted(set(runs[0].sets.values())))
    absent: list[tuple[str, int]] = []
    for index in range(1, of + 1):
        slice_ = Slice(index, of)
        own = [record for record in runs if record.slice == str(slice_)]
        n_lacking = sum(shard.shard_id in lacking for shard in slice_.shards(shards))
        if n_lacking and not own:
            absent.append((str(slice_), n_lacking))
        elif n_lacking:
            yield _unfinished(slice_, names, own[-1], n_lacking)
        yield from _repeated(slice_, names, own)
    if absent:
        named = ", ".join(name for name, _ in absent[:NAMED])
        more = f" and {len(absent) - NAMED:,} more" if len(absent) > NAMED else ""
        yield (
            f"{names}: {'slice' if len(absent) == 1 else 'slices'} {named}{more} "
            f"{'has' if len(absent) == 1 else 'have'} not begun: "
            f"{counted(sum(n for _, n in absent), 'shard')} missing"
        )
    if not lacking:
        yield f"{names}: all {counted(of, 'slice')} have arrived"


def _unfinished(slice_: Slice, names: str, last: SliceRecord, n_lacking: int) -> str:
    shards = f"{n_lacking} of its {counted(len(last.shards), 'shard')}"
    if last.ended_at is None:
        return (
            f"{names}: slice {slice_}, begun on {last.host} at {last.began_at[:19]}, still lacks {shards}; "
            f"if it was stopped, run it again: --slice {slice_}"
        )
    return f"{names}: slice {slice_} ended and lacks {shards}; run it again: --slice {slice_}"


def _repeated(slice_: Slice, names: str, own: Sequence[SliceRecord]) -> Iterator[str]:
    ended = [record for record in own if record.ended_at is not None]
    n_late = sum(record.n_late for record in ended)
    if len(ended) > 1:
        hosts = ", ".join(dict.fromkeys(record.host for record in ended))
        yield f"{names}: slice {slice_} ran {len(ended)} times ({hosts}); each part is kept once"
    elif n_late:
        were, are = ("was", "is") if n_late == 1 else ("were", "are")
        yield (
            f"{names}: slice {slice_} came late: {counted(n_late, 'part')} of it {were} there already and "
            f"{are} kept"
        )
