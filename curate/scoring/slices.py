"""Scoring by slices: each of N processes, on any machine, takes its share of the shards.

No process waits for another and none writes to the database: a slice leaves parts and a record of
itself among them, and `curate commit` takes in what has arrived.
"""

import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, final

from curate.contracts.display import counted
from curate.errors import ConfigError
from curate.store.parts import owner, read_json, write_json
from curate.store.records import utc_now

S = TypeVar("S")

FOLDER: Final = "slices"
SLURM: Final = "slurm"
_WRITTEN: Final = re.compile(r"(\d+)/(\d+)")
_SLURM: Final = "SLURM_ARRAY_TASK_"


@final
@dataclass(frozen=True, slots=True)
class Slice:
    """Slice ``index`` of ``of``, counted from 1: every ``of``-th shard of the pool.

    The shards of a slice depend on nothing but the pool, so a slice that is run again takes the same
    ones; shards that are added later are dealt out in the same way.
    """

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] | None = None) -> "Slice":
        """Read ``3/8``, or ``slurm`` from the variables of a Slurm array; `ConfigError` for others."""
        if text.strip().lower() == SLURM:
            return cls._of_slurm(os.environ if environment is None else environment)
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise ConfigError(
                f"--slice is I/N, such as 3/8, or {SLURM} within a Slurm array, got {text!r}"
            )
        made = cls(int(match[1]), int(match[2]))
        if not 1 <= made.index <= made.of:
            raise ConfigError(
                f"--slice {text} counts from 1/{made.of} to {made.of}/{made.of}"
                if made.of
                else f"--slice {text} is a slice of none; the first of eight is 1/8"
            )
        return made

    @classmethod
    def _of_slurm(cls, environment: Mapping[str, str]) -> "Slice":
        names = ("ID", "COUNT", "MIN")
        found = {name: environment.get(f"{_SLURM}{name}", "") for name in names}
        if not all(value.isdigit() for value in found.values()):
            missing = [f"{_SLURM}{name}" for name, value in found.items() if not value.isdigit()]
            raise ConfigError(
                f"--slice {SLURM} reads {', '.join(missing)}, which Slurm sets in an array and which "
                "is not set here; submit with sbatch --array=0-7, or give the slice, such as --slice 3/8"
            )
        step = int(environment.get(f"{_SLURM}STEP", "1") or 1)
        index, left = divmod(int(found["ID"]) - int(found["MIN"]), step)
        if left or index >= int(found["COUNT"]):
            raise ConfigError(
                f"--slice {SLURM} needs tasks that are numbered evenly, and task {found['ID']} of "
                f"{found['COUNT']} from {found['MIN']} in steps of {step} is not; submit with sbatch "
                "--array=0-7, or give the slice, such as --slice 3/8"
            )
        return cls(index + 1, int(found["COUNT"]))

    def shards(self, shards: Sequence[S]) -> list[S]:
        """Return the shards of this slice, of all shards of the pool in order."""
        return list(shards[self.index - 1 :: self.of])


class Records(Protocol):
    """Where the records of slices lie, by name."""

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one, in place of an earlier one of that name."""

    def all(self) -> Mapping[str, Mapping[str, Any]]:
        """Return all of them."""

    def remove(self, name: str) -> None:
        """Remove one; it may be gone."""


@final
@dataclass(frozen=True, slots=True)
class FolderRecords:
    """Records in the folder of parts."""

    parts: Path

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one, atomically."""
        write_json(self.parts / FOLDER / name, value)

    def all(self) -> dict[str, Mapping[str, Any]]:
        """Read all; one that another commit removes meanwhile is none."""
        found = {}
        for path in (self.parts / FOLDER).glob("*.json"):
            with suppress(FileNotFoundError):
                found[path.name] = read_json(path)
        return found

    def remove(self, name: str) -> None:
        """Delete one."""
        (self.parts / FOLDER / name).unlink(missing_ok=True)


@final
@dataclass(frozen=True, slots=True)
class SliceRecord:
    """What one run of a slice says of itself: written when it begins, and again when it ends.

    ``sets`` has the alias of each score set by its id. ``n_written`` counts the parts it wrote, and
    ``n_late`` those that were there already when it had computed them.
    """

    slice: str
    sets: Mapping[str, str]
    shards: Sequence[str]
    host: str
    began_at: str
    ended_at: str | None = None
    n_written: int = 0
    n_late: int = 0
    name: str = field(default="", compare=False)
    records: Records | None = field(default=None, compare=False)

    @property
    def of(self) -> int:
        """How many slices there are."""
        return Slice.parse(self.slice).of

    @classmethod
    def begin(
        cls, records: Records, slice_: Slice, sets: Mapping[str, str], shards: Sequence[str]
    ) -> "SliceRecord":
        """Leave the record of a slice that begins; ``shards`` are the ids of its shards."""
        name = f"{slice_.index:05}-of-{slice_.of:05}-{owner()}-{time.time_ns()}.json"
        record = cls(
            str(slice_), dict(sets), list(shards), platform.node(), utc_now(), name=name,
            records=records,
        )  # fmt: skip
        record._write()
        return record

    def end(self, n_written: int, n_late: int) -> "SliceRecord":
        """Leave the record of a slice that is finished."""
        ended = replace(self, ended_at=utc_now(), n_written=n_written, n_late=n_late)
        ended._write()
        return ended

    def remove(self) -> None:
        """Remove the record."""
        assert self.records is not None
        self.records.remove(self.name)

    @classmethod
    def all_in(cls, records: Records) -> list["SliceRecord"]:
        """Return the records, by slice and in order of their beginning."""
        found = [
            cls(**value, name=name, records=records)
            for name, value in sorted(records.all().items())
        ]
        return sorted(found, key=lambda record: (record.of, _index(record), record.began_at))

    def _write(self) -> None:
        assert self.records is not None
        stored = (item.name for item in fields(self) if item.name not in ("name", "records"))
        self.records.write(self.name, {name: getattr(self, name) for name in stored})


@final
@dataclass(frozen=True, slots=True)
class SliceReport:
    """What one slice did: parts written, and those that another process had written meanwhile."""

    slice: Slice
    n_shards: int
    n_found: int
    n_written: int
    n_late: int
    wall_s: float
    parts: str | None = None

    def __str__(self) -> str:
        late = (
            f", {self.n_late} of them there already when they were finished" if self.n_late else ""
        )
        commit = "curate commit" if self.parts is None else f"curate commit --parts {self.parts}"
        return (
            f"slice {self.slice}: {counted(self.n_shards, 'shard')}, {counted(self.n_written + self.n_late, 'part')} "
            f"computed{late}, {self.n_found} found; when all slices have run: {commit}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the document that `score --slice --json` prints."""
        counts = {name: v for name, v in asdict(self).items() if name not in ("slice", "parts")}
        return {"slice": str(self.slice), **counts}

    def raise_for_failures(self) -> None:
        """Raise nothing: what failed is counted when the parts are committed."""


def _index(record: SliceRecord) -> int:
    return Slice.parse(record.slice).index
