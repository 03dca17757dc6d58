"""How far the run of one shard is: what is finished is kept beside the parts, so that a killed run loses little."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from curate.errors import StoreError
from curate.store.parts import UNFINISHED
from curate.store.records import digest

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Shard

KEEP_S: Final = 15.0  # the most work, about, that a killed run loses: batches take less
TELL_S: Final = 0.5
WORTH_A_FILE_S: Final = 0.5  # of work, where a run is cut short
_ENDING: Final = ".parquet"
_UNIT: Final = "unit"  # the column that names it


@final
@dataclass(frozen=True, slots=True)
class Stripe:
    """Every ``count``-th unit of a shard from the ``index``-th on: what one of several workers runs."""

    index: int
    count: int

    def __contains__(self, number: int) -> bool:
        return number % self.count == self.index


@final
@dataclass
class Course:
    """The units of one shard that are finished: batches of a pass, or blocks of a row scorer.

    Units are named by what decides their numbers, so that whoever meets one takes it: how many workers
    share a shard, and how often they are killed, changes no bit. They are written every `KEEP_S` seconds,
    those of quick shards never.

    Parameters
    ----------
    folder
        For finished units; None keeps nothing.
    stripe
        Units to run here; None for all.
    tell
        Takes how many examples of the shard are done, about, at most every `TELL_S` seconds.
    """

    folder: Path | None = None
    stripe: Stripe | None = None
    tell: Callable[[float], None] | None = None
    spent_s: float = 0.0
    n_split: int = 0
    _kept: dict[str, "pa.Table"] = field(default_factory=dict, init=False)
    _new: list[tuple[str, Callable[[], "pa.Table"]]] = field(default_factory=list, init=False)
    _new_split: int = field(default=0, init=False)
    _new_examples: float = field(default=0.0, init=False)
    _set_ids: list[str] = field(default_factory=list, init=False)
    _n_met: int = field(default=0, init=False)
    _saved_at: float = field(default_factory=time.perf_counter, init=False)
    _told_at: float = field(default=-TELL_S, init=False)

    def open(self, set_ids: Sequence[str], *identity: Any) -> None:
        """Read what earlier runs finished of some score sets.

        ``identity`` is what decides the numbers of a unit beside its name. A file that is damaged is removed: its units run again. ``spent_s`` and ``n_split`` then are the
        seconds those runs took, and the rows they had to split.
        """
        from curate.store.parts import files_below, part_metadata
        from curate.store.sealed import PartDamageError, open_sealed

        self._saved_at = time.perf_counter()
        if self.folder is None:
            return
        self._set_ids = sorted(set_ids)
        self.folder = self.folder / digest(repr((self._set_ids, identity)), 8)
        for path in sorted(files_below(self.folder, _ENDING)):
            try:
                with open_sealed(path) as file:
                    table = file.read()
            except PartDamageError:
                path.unlink(missing_ok=True)
                continue
            facts = part_metadata(table.schema)
            self.spent_s += facts["seconds"]
            self.n_split += facts["n_split"]
            units = table.column(_UNIT).to_pylist()
            starts = [n for n, unit in enumerate(units) if n == 0 or unit != units[n - 1]]
            for start, stop in zip(starts, [*starts[1:], len(units)], strict=True):
                self._kept[units[start]] = table.slice(start, stop - start)

    def take(self, unit: str) -> "pa.Table | None":
        """Return what an earlier run found for a unit, or None."""
        return self._kept.get(unit)

    def is_own(self) -> bool:
        """Whether the next unit is to be run here; asked once for each, finished or not, in order."""
        number, self._n_met = self._n_met, self._n_met + 1
        return self.stripe is None or number in self.stripe

    def finished(
        self, unit: str, n_examples: float, table: Callable[[], "pa.Table"], n_split: int = 0
    ) -> None:
        """Note that a unit is finished, the work of so many examples.

        ``table`` makes the rows to keep, at least one. ``n_split`` are those that memory had no room for.
        """
        if self.folder is None:
            return
        self._new.append((unit, table))
        self._new_examples += n_examples
        self._new_split += n_split
        if time.perf_counter() - self._saved_at >= KEEP_S:
            self.save()

    def save(self) -> None:
        """Write what is finished since the last time.

        Nothing is written where another run of the shard just removed the folder, as it has its part.
        """
        import pyarrow as pa

        from curate.store.parts import owner, write_part

        now = time.perf_counter()
        seconds, self._saved_at = now - self._saved_at, now
        if self.folder is None or not self._new:
            return
        tables = []
        for unit, make in self._new:
            table = make()
            tables.append(table.append_column(_UNIT, pa.array([unit] * len(table), pa.string())))
        path = self.folder / f"{owner()}-{time.time_ns()}{_ENDING}"
        facts = {
            "seconds": seconds, "n_split": self._new_split, "n_examples": self._new_examples,
            "set_ids": self._set_ids,
        }  # fmt: skip
        with suppress(FileNotFoundError):
            write_part(path, pa.concat_tables(tables), facts)
        self._new, self._new_split, self._new_examples = [], 0, 0.0

    def reached(self, n_done: float) -> None:
        """Tell how many examples of the shard are done, about."""
        now = time.perf_counter()
        if self.tell is not None and now - self._told_at >= TELL_S:
            self._told_at = now
            self.tell(n_done)

    def stopped(self) -> None:
        """Write what is finished of a run that is cut short, where that is worth a file."""
        if time.perf_counter() - self._saved_at >= WORTH_A_FILE_S:
            self.save()

    def discard(self) -> None:
        """Remove what was kept: the shard is finished."""
        if self.folder is not None and self.folder.is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # another pass keeps something of this shard
                self.folder.parent.rmdir()


def n_kept(parts: Path, pending: Mapping[str, Sequence["Shard"]]) -> dict[str, int]:
    """Return how many examples of shards without a part are kept so far, about, by score set.

    ``parts`` is the store's folder of parts, ``pending`` has the shards of each set that lack one.
    """
    folder = parts / UNFINISHED
    of_shard = {path.name: n_unfinished(path) for path in folder.glob("*")} if pending else {}
    return {
        set_id: sum(
            min(int(of_shard.get(shard.shard_id, {}).get(set_id, 0)), shard.n_examples)
            for shard in shards
        )
        for set_id, shards in pending.items()
    }


def n_unfinished(folder: Path, set_ids: Sequence[str] | None = None) -> dict[str, float]:
    """Return how many examples of a shard are kept so far, about, by score set: the most of any pass.

    Whoever finishes the shard may remove its files meanwhile, also on another machine. ``set_ids``: look
    at what a pass of just these sets takes over.
    """
    from curate.store.parts import files_below, open_parquet, part_metadata

    of_pass: dict[tuple[Path, str], float] = {}
    for path in files_below(folder, _ENDING):
        try:
            with open_parquet(path) as file:
                facts = part_metadata(file.schema_arrow)
        except (OSError, StoreError):  # just removed, or damaged, which the next run finds
            continue
        if set_ids is not None and facts["set_ids"] != sorted(set_ids):
            continue
        for set_id in facts["set_ids"]:
            of_pass[path.parent, set_id] = (
                of_pass.get((path.parent, set_id), 0.0) + facts["n_examples"]
            )
    found: dict[str, float] = {}
    for (_, set_id), n in of_pass.items():
        found[set_id] = max(found.get(set_id, 0.0), n)
    return found
