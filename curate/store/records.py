"""Small frozen records that the store returns, independent of the database."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, final

Container = Literal["jsonl", "json", "csv", "parquet", "arrow", "disk", "hub"]

ID_LENGTH: Final = 32
BY_HAND: Final = "marked"  # the method of selections that people make by hand
POOL_INPUT: Final = "pool"  # the key of `ScoreKey.inputs` that holds the pool's hash
PART_INPUT: Final = "part"  # and the one that holds the hash of the only ids that are scored
IMPORTED_INPUT: Final = "imported"  # holds the hash of scores that were made elsewhere
FILE_INPUT: Final = "file:"  # before the name of a file that the scorer reads
TARGET_INPUT: Final = "target:"  # before the name of a target set that the scorer reads


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no escapes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def text_or_json(value: Any) -> str | None:
    """Return a value for a text column: texts and None as they are, anything else as JSON."""
    return value if value is None or isinstance(value, str) else canonical_json(value)


def digest(text: str, n_bytes: int = 16) -> str:
    """Return the BLAKE2b digest of a text in hex."""
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=n_bytes).hexdigest()


def utc_now() -> str:
    """Return the time now, UTC, ISO 8601 with microseconds, so that texts sort by time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@final
@dataclass(frozen=True, slots=True)
class Dataset:
    """One ingested input: where it came from and how it was read.

    Parameters
    ----------
    dataset_id
        Name of its folders in the store; letters, digits, dot, dash and underscore.
    name
        As the user typed it.
    container
        What holds the rows on disk.
    format
        The layout of a row: alpaca, sharegpt, messages, prompt-completion, prompt-response or
        preference.
    columns
        Which input column has which role.
    content_hash
        Hash of the bytes and of everything that decides how they are read.
    n_rows
        Rows kept; filled in by `PoolWriter.commit`.
    extra
        Whatever an export needs to write the same container again.
    """

    dataset_id: str
    name: str
    container: Container
    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    compression: str | None = None
    content_hash: str = ""
    n_rows: int = 0
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the canonical JSON of all fields."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Dataset":
        """Read what `to_json` wrote; unknown keys are ignored."""
        values = json.loads(text)
        return cls(**{name: values[name] for name in cls.__slots__ if name in values})


@final
@dataclass(frozen=True, slots=True)
class Shard:
    """A fixed slice of the pool: the Parquet file at ``path`` holds ``n_examples`` examples."""

    shard_id: str
    dataset: str
    path: Path
    n_examples: int


@final
@dataclass(frozen=True, slots=True)
class IngestCounts:
    """Rows of one ingest: read = rows kept + failed; added = new examples; duplicate = the rest."""

    n_read: int
    n_added: int
    n_duplicate: int
    n_failed: int


@final
@dataclass(frozen=True, slots=True)
class ScoreKey:
    """Everything that determines the values of a score set: change any field and it is another set.

    Parameters
    ----------
    scorer, version, config
        The scorer's registered name, its version and its hyperparameters.
    model
        Resolved model: name, revision or weights hash, adapter; None without a model.
    tokenizer
        Hash of the tokenizer (and of its chat template), or None.
    template, max_length, dtype
        Rendering, truncation and resolved dtype, or None if not applicable.
    inputs
        Score sets a pool scorer read, by alias; under ``pool`` the hash of the pool it saw. Under
        ``part`` the hash of the ids of a partial set, which holds scores of those examples only.
        Under ``file:`` and a name the hash of a file the scorer reads. Under ``imported`` the hash
        of scores that were made elsewhere.
    backend
        What ran the model in place of our own pass, or None.
    """

    scorer: str
    version: int
    config: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] | str | None = None
    tokenizer: str | None = None
    template: str | None = None
    max_length: int | None = None
    dtype: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None

    def to_json(self) -> str:
        """Return the canonical JSON of all fields, without a backend where there is none."""
        values = asdict(self)
        if self.backend is None:
            del values["backend"]
        return canonical_json(values)

    @classmethod
    def from_json(cls, text: str) -> "ScoreKey":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def files(self) -> dict[str, str]:
        """Return the hash of each file the scorer reads by its name, and of ``target:NAME``, a target set."""
        return {
            name.removeprefix(FILE_INPUT): value
            for name, value in self.inputs.items()
            if name.startswith((FILE_INPUT, TARGET_INPUT))
        }

    @property
    def set_id(self) -> str:
        """Return 16 hex digits of BLAKE2b over the canonical JSON."""
        return digest(self.to_json(), 8)

    @property
    def is_partial(self) -> bool:
        """Whether the set is meant to hold only part of the pool."""
        return PART_INPUT in self.inputs


@final
@dataclass(frozen=True, slots=True)
class ScoreSet:
    """One score set of a store: its key, its names, and the run parameters it was created with.

    ``run`` holds the parameters of the first run (token budget of a batch, ...); later runs reuse them,
    so that a resumed job computes the same bits. ``folder`` is where its parts go.
    """

    set_id: str
    alias: str
    key: ScoreKey
    run: Mapping[str, Any]
    folder: Path
    created_at: str
    aliases: tuple[str, ...] = ()

    def part(self, shard_id: str) -> Path:
        """Return the path of the part of one shard, written or not."""
        return self.folder / f"{shard_id}.parquet"


@final
@dataclass(frozen=True, slots=True)
class ScoreSetStatus:
    """A score set and how much of the pool it covers.

    ``n_examples`` counts the examples with an entry, ``n_failed`` those of them whose entry is a
    failure. ``complete``: every example of the pool has an entry. ``stale``: the pool changed since
    a pool scorer read it. ``partial``: only some examples were to be scored; such a set is never
    complete, and is read only by its id. ``content_hash`` is None until
    the set was finished once.
    """

    set_id: str
    alias: str
    aliases: tuple[str, ...]
    scorer: str
    version: int
    config: Mapping[str, Any]
    model: Mapping[str, Any] | str | None
    spec: Mapping[str, Any]
    created_at: str
    n_examples: int
    n_failed: int
    tokens: int
    wall_s: float
    device: str
    content_hash: str | None
    columns: Mapping[str, str]
    complete: bool
    stale: bool
    partial: bool


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of `doctor`: ``level`` is ok, warning or error; ``action`` is what to type."""

    level: Literal["ok", "warning", "error"]
    check: str
    message: str
    action: str = ""
