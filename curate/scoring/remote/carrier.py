"""How a worker gets a shard that does not lie on its machine, and where it leaves the parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from curate.errors import ScoreError
from curate.scoring.remote.places import (
    DATA,
    SHARDS,
    Arrivals,
    deliver,
    fetch_needed,
    flaw_of,
)
from curate.store.objects import Objects

if TYPE_CHECKING:
    from curate.scoring.executors.worker import ShardTask


@final
@dataclass(frozen=True, slots=True)
class Carrier:
    """Brings one task's shard and what is read beside it; delivers its parts; small and picklable.

    Parameters
    ----------
    plan
        Id of the plan.
    checksum
        Of the shard's object.
    folders
        Of the task's parts by score set id, below the URL.
    inputs
        Of the parts that are read, by alias.
    """

    objects: Objects
    plan: str
    checksum: str
    folders: Mapping[str, str]
    inputs: Mapping[str, str]

    def bring(self, task: "ShardTask") -> None:
        """Copy what the task reads to where it reads it.

        Raises `StoreError` for a shard that is missing or damaged, `ScoreError` for scores that are.
        """
        fetch_needed(self.objects, f"{SHARDS}/{self.checksum}{DATA}", task.shard, self.checksum)
        for alias, folder in self.inputs.items():
            target = task.inputs[alias]
            if target.exists():
                continue
            there = Arrivals.below(self.objects, folder)
            if all(
                flaw_of(self.objects, there.sizes, folder, attempt, target)
                for attempt in there.attempts(folder)
            ):
                raise ScoreError(
                    f"the scores {alias!r} of shard {task.shard_id} are not at {self.objects.place(folder)}; "
                    "run the same scoring command again"
                )

    def deliver(self, task: "ShardTask") -> int:
        """Write the task's parts below the URL and remove the copies here; return how many came late.

        A part that is there already stays: the rows are the same.
        """
        n_late = 0
        for set_id, path in task.parts.items():
            folder = self.folders[set_id]
            if Arrivals.below(self.objects, folder).attempts(folder):
                n_late += 1
            else:
                deliver(self.objects, folder, path, set_id, task.shard_id, self.plan)
            path.unlink(missing_ok=True)
        for path in (task.shard, *task.inputs.values()):
            path.unlink(missing_ok=True)
        return n_late
