"""Where each shard of the score sets of a run stands: not scored yet, written, in the database."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from curate.errors import StoreError

if TYPE_CHECKING:
    from curate.store import ScoreSet, Shard, Store
    from curate.store.sealed import DamagedPart


@final
@dataclass
class Ledger:
    """The score sets of a run, by id, and the shards of each.

    Parameters
    ----------
    shards
        Of the pool, in order.
    missing
        What the run scores: shards that had no part when it began, or a damaged one.
    left
        Ids of those of them that are not finished.
    uncommitted
        Ids of shards whose parts are written, and not in the database yet.
    damaged
        Parts found damaged of which nothing has been said yet.
    last
        The last one of each set.
    """

    store: "Store"
    shards: Sequence["Shard"]
    sets: dict[str, "ScoreSet"] = field(default_factory=dict)
    missing: dict[str, list["Shard"]] = field(default_factory=dict)
    left: dict[str, set[str]] = field(default_factory=dict)
    uncommitted: dict[str, list[str]] = field(default_factory=dict)
    damaged: list["DamagedPart"] = field(default_factory=list)
    last: dict[str, "DamagedPart"] = field(default_factory=dict)

    def add(self, made: "ScoreSet", scope: Sequence["Shard"]) -> None:
        """Take in a score set, of which the run covers some shards."""
        missing, written = self.store.pending_shards(made, scope)
        self.sets[made.set_id] = made
        self.missing[made.set_id] = missing
        self.left[made.set_id] = {shard.shard_id for shard in missing}
        self.uncommitted[made.set_id] = [shard.shard_id for shard in written]

    def to_score(self, set_id: str) -> list["Shard"]:
        """Return the shards of a set that are not finished, in order."""
        return [shard for shard in self.shards if shard.shard_id in self.left[set_id]]

    def wrote(self, set_id: str, shard_id: str) -> None:
        """Note that the part of a shard is written."""
        self.left[set_id].discard(shard_id)
        self.uncommitted[set_id].append(shard_id)

    def lost(self, set_id: str, shard_id: str) -> None:
        """Note that a shard is no more: its last example was forgotten."""
        self.left[set_id].discard(shard_id)

    def commit(self) -> None:
        """Commit every part that is written; safe to repeat. What is damaged is left to score."""
        for set_id, shard_ids in self.uncommitted.items():
            if not shard_ids:
                continue
            damaged: list[DamagedPart] = []
            self.store.commit_parts(self.sets[set_id], list(shard_ids), damaged)
            shard_ids.clear()
            again = {part.shard_id for part in damaged}
            new = again - {shard.shard_id for shard in self.missing[set_id]}
            self.missing[set_id] += [shard for shard in self.shards if shard.shard_id in new]
            self.left[set_id] |= again
            self.damaged += damaged
            self.last |= {set_id: damaged[-1]} if damaged else {}

    def said(self) -> Iterator[str]:
        """Yield what is to be said of damaged parts, once."""
        while self.damaged:
            yield f"{self.damaged.pop(0)}; its shard is scored again"

    def refuse_damage(self, set_ids: Iterable[str]) -> None:
        """Raise `StoreError` if a part of these sets was damaged and is not scored again."""
        for set_id in set_ids:
            if set_id in self.last and self.left[set_id]:
                raise StoreError(
                    f"{self.last[set_id]}; run the same command again, which scores its shard again"
                )
