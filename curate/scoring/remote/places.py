"""What lies where below the URL of the parts, and how a part is said to be there.

::

    plan.json                             what is scored, on which shards: written by the store's machine
    shards/CHECKSUM.parquet               the examples of a shard
    scopes/DIGEST.parquet                 the only ids to score, for ``--within``
    parts/SET-BATCH/SHARD-IDS/ATTEMPT.parquet   a part, under a name that no other try has
    parts/SET-BATCH/SHARD-IDS/ATTEMPT.json      its completion record, written after it
    parts/SET-BATCH/SHARD-IDS/ATTEMPT.refused   why the record does not count: the shard is scored again
    slices/NAME.json                      what each run of a slice says of itself

SET is the id of the score set and BATCH a digest of the budgets of its batches, SHARD the id of the shard and
IDS a digest of its examples: together all that decides the bytes of the scores. ATTEMPT begins with the
time, UTC; records count in the order of their names.
"""

import json
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, final

import curate
from curate.errors import StoreError
from curate.models.files import file_hash
from curate.scoring.requests import ALONE
from curate.store.objects import Objects
from curate.store.parts import atomic_path, read_parquet
from curate.store.records import digest, utc_now

PLAN: Final = "plan.json"
SHARDS: Final = "shards"
SCOPES: Final = "scopes"
PARTS: Final = "parts"
DATA: Final = ".parquet"
RECORD: Final = ".json"
REFUSED: Final = ".refused"
DIGEST_BYTES: Final = 4


def ids_digest(shard: Path) -> str:
    """Return a short digest of the ids of a shard's examples, in order."""
    return digest("\n".join(read_parquet(shard, ["id"])["id"].to_pylist()), DIGEST_BYTES)


def budgets_of(run: Mapping[str, Any]) -> str:
    """Write the token budgets that a score set's run parameters have for its batches."""
    alone = run.get(ALONE)
    return f"{run['batch_tokens']}" if alone is None else f"{run['batch_tokens']}, alone {alone}"


def set_folder(set_id: str, budgets: str) -> str:
    """Return the folder of the parts of a score set that is scored in batches of these budgets."""
    return f"{PARTS}/{set_id}-{digest(budgets, DIGEST_BYTES)}"


def part_folder(set_id: str, budgets: str, shard_id: str, ids: str) -> str:
    """Return the folder of every try at one part."""
    return f"{set_folder(set_id, budgets)}/{shard_id}-{ids}"


@final
@dataclass(frozen=True, slots=True)
class CompletionRecord:
    """Says that a part is there, whole: where its data is, of how many bytes, and their checksum."""

    data: str
    n_bytes: int
    checksum: str
    set_id: str
    shard: str
    attempt: str
    plan: str
    host: str
    curate: str
    written_at: str

    @classmethod
    def parse(cls, text: bytes) -> "CompletionRecord":
        """Read a record; `ValueError` for anything else."""
        found = json.loads(text)
        names = {item.name for item in fields(cls)}
        if not isinstance(found, dict) or not names <= set(found):
            raise ValueError("fields are missing")
        return cls(**{name: found[name] for name in names})

    def written(self) -> bytes:
        """Return what is written."""
        return json.dumps(asdict(self), indent=2, sort_keys=True).encode()


@final
class Arrivals:
    """What one listing of the parts has found, by the folder of each part."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self._names: dict[str, set[str]] = {}
        for key in sizes:
            folder, _, name = key.rpartition("/")
            self._names.setdefault(folder, set()).add(name)

    @classmethod
    def below(cls, objects: Objects, folder: str = PARTS) -> "Arrivals":
        """List what lies below a folder."""
        return cls(objects.sizes(folder))

    @property
    def folders(self) -> Sequence[str]:
        """Every folder with a completion record."""
        return sorted(
            f for f, names in self._names.items() if any(n.endswith(RECORD) for n in names)
        )

    def attempts(self, folder: str, *, refused: bool = False) -> list[str]:
        """Return the tries at a part that have a record, in order: those that count, or the others."""
        names = self._names.get(folder, set())
        recorded = sorted(n.removesuffix(RECORD) for n in names if n.endswith(RECORD))
        return [attempt for attempt in recorded if (f"{attempt}{REFUSED}" in names) == refused]


def deliver(objects: Objects, folder: str, part: Path, set_id: str, shard: str, plan: str) -> None:
    """Write a part and, once it is there, its completion record."""
    attempt = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(6)}"
    data = f"{folder}/{attempt}{DATA}"
    record = CompletionRecord(
        data, part.stat().st_size, file_hash(part), set_id, shard, attempt, plan,
        platform.node(), curate.__version__, utc_now(),
    )  # fmt: skip
    objects.put(data, part)
    objects.write(f"{folder}/{attempt}{RECORD}", record.written())


def fetch(objects: Objects, key: str, target: Path, checksum: str) -> str:
    """Copy an object to a file, which appears only if it is whole; return what is wrong, or "".

    A second copy is made before its bytes are blamed.
    """
    if target.exists():
        return ""
    found = ""
    for _ in range(2):
        try:
            with atomic_path(target, once=True) as temporary:
                if not objects.get(key, temporary):
                    raise _AbsentError  # to return would put an empty file in place
                found = file_hash(temporary)
                if found != checksum:
                    raise _OtherBytesError
        except FileExistsError:
            return ""
        except _AbsentError:
            return "it is not there"
        except _OtherBytesError:
            continue
        return ""
    return f"it has the checksum {found} instead of {checksum}"


def flaw_of(
    objects: Objects, sizes: Mapping[str, int], folder: str, attempt: str, target: Path
) -> str:
    """Copy the part of one try to a file; return why it does not count, or "".

    The folder says which score set and shard the record must be of.
    """
    text = objects.read(f"{folder}/{attempt}{RECORD}")
    if text is None:
        return "it is gone"
    try:
        record = CompletionRecord.parse(text)
    except ValueError:
        return "it is no completion record"
    named, shard = (name.rpartition("-")[0] for name in folder.split("/")[1:])
    if (record.set_id, record.shard) != (named, shard):
        return f"it is of shard {str(record.shard)[:60]} of score set {str(record.set_id)[:60]}"
    data = f"{folder}/{attempt}{DATA}"
    if (record.data, record.attempt) != (data, attempt):
        return f"it is of {str(record.data)[:200]}, which is no part of this place"
    if data not in sizes:
        return f"its data {attempt}{DATA} is not there"
    if sizes[data] != record.n_bytes:
        return f"its data has {sizes[data]:,} bytes instead of {record.n_bytes}"
    wrong = fetch(objects, data, target, record.checksum)
    return wrong and f"its data is damaged: {wrong}"


def fetch_needed(objects: Objects, key: str, target: Path, checksum: str) -> None:
    """Copy what the plan says is there; raise `StoreError` where it is missing or damaged."""
    wrong = fetch(objects, key, target, checksum)
    if wrong:
        raise StoreError(
            f"{objects.place(key)} cannot be used: {wrong}; publish it again, on the machine with the store: "
            "the same curate score command with --plan-only"
        )


@final
class _AbsentError(Exception):
    """There is no object to copy."""


@final
class _OtherBytesError(Exception):
    """A copy that does not have the checksum it should have."""
