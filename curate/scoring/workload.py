"""How long shards will take, roughly: enough to decide how many workers are worth their start."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.parquet as pq

from curate.contracts.display import counted
from curate.errors import ConfigError
from curate.models.machine import free_bytes
from curate.models.room import DTYPE_BYTES, GIB
from curate.scoring.blocks import FLOPS_PER_S
from curate.scoring.executors.local import n_devices
from curate.scoring.plan import Pass

WORTH_A_WORKER_S: Final = 30.0  # its start takes several: it imports torch and loads the model
BESIDE_WEIGHTS: Final = GIB // 2  # of memory: torch, a batch, the rows of a shard
TEXT: Final = "messages"  # the column that holds a conversation whole
BYTES_PER_TOKEN: Final = 4  # of English text
RENDERING_S: Final = 1e-3  # per example
UNKNOWN_S: Final = 0.05  # per example of a scorer that says nothing of its work


@final
@dataclass(frozen=True, slots=True)
class ShardSize:
    """What a shard's footer says of it: examples, and bytes of their conversations uncompressed."""

    n_examples: int
    text_bytes: int

    @classmethod
    def of(cls, shard: Path) -> "ShardSize":
        """Read the footer of a shard; nothing of one that is gone or damaged, which a worker reports."""
        try:
            footer = pq.read_metadata(shard)
        except (OSError, pa.ArrowInvalid):
            return cls(0, 0)
        return cls(footer.num_rows, _text_bytes(footer))


@final
@dataclass(frozen=True, slots=True)
class Workers:
    """How many workers to start, and in words if memory was what decided, or should have been."""

    n: int
    note: str = ""


def workers_for(
    work: Sequence[tuple[Pass, Sequence[Path | ShardSize]]],
    device: str,
    asked: int | None = None,
    cards: int = 1,
) -> Workers:
    """Return how many workers to start for the shards of each pass.

    Never more than there are shards, counting one that `most_stripes` says is worth sharing as several.
    As many as asked for, or as are busy for half a minute each: at most one per CPU core or GPU, or per
    so many ``cards`` as each takes, and on a CPU as many as hold their model in the memory that is free.
    Reads the footers of shards until there is enough work for all. Raises `ConfigError` where more are
    asked for than engines of vLLM have room.
    """
    n = _busy(work, device, asked, cards)
    each, free = _bytes_of_worker(work), free_bytes() if device == "cpu" else None
    if n == 1 or not each or free is None or n * each <= free:
        return Workers(n)
    room = max(1, free // each)
    takes = f"a worker takes about {each / GIB:.1f} GiB for its model, and {free / GIB:.1f} GiB are free"
    if asked is not None:
        return Workers(n, f"warning: {takes}, which is less than {n} need; type --workers {room}")
    return Workers(room, f"{takes}: {counted(room, 'worker')}, not {n}")


def n_workers(
    work: Sequence[tuple[Pass, Sequence[Path | ShardSize]]],
    device: str,
    asked: int | None = None,
    cards: int = 1,
) -> int:
    """Return how many workers `workers_for` starts."""
    return workers_for(work, device, asked, cards).n


def _bytes_of_worker(work: Sequence[tuple[Pass, Sequence[Path | ShardSize]]]) -> int:
    """Return about the memory of a worker at its largest model; 0 where none runs weights."""
    weights = [
        pass_.model.n_parameters * DTYPE_BYTES[pass_.dtype]
        for pass_, _ in work
        if pass_.runs_weights and pass_.model is not None and pass_.model.n_parameters
    ]
    return max(weights) + BESIDE_WEIGHTS if weights else 0


def _busy(
    work: Sequence[tuple[Pass, Sequence[Path | ShardSize]]],
    device: str,
    asked: int | None,
    cards: int,
) -> int:
    most = n_devices(device) // cards if asked is None else asked
    if any(pass_.backend is not None for pass_, _ in work):
        most = _n_engines(device, asked)
    seconds, n_pieces = 0.0, 0
    for pass_, shards in work:
        for shard in shards:
            of_one = seconds_of(pass_, shard, device)
            seconds, n_pieces = seconds + of_one, n_pieces + most_stripes(pass_, of_one)
            if n_pieces >= most and seconds >= WORTH_A_WORKER_S * most:
                return most
    busy = math.floor(seconds / WORTH_A_WORKER_S) if asked is None else most
    return max(1, min(most, n_pieces, busy))


def _n_engines(device: str, asked: int | None) -> int:
    """Return how many engines of vLLM may run: each takes most of the memory of a GPU for itself."""
    most = 1 if device == "cpu" else n_devices(device)
    if asked is not None and asked > most:
        raise ConfigError(
            f"--workers {asked} with --backend vllm: each worker takes a GPU for itself, and --device "
            f"{device} has {most}; leave --workers out"
        )
    return most if asked is None else asked


def most_stripes(pass_: Pass, seconds: float) -> int:
    """Return between how many workers it is worth sharing a shard that takes one of them so long.

    Each renders all of it, so that only the work of a model can be shared.
    """
    return max(1, math.floor(seconds / WORTH_A_WORKER_S)) if pass_.runs_weights else 1


def seconds_of(pass_: Pass, shard: Path | ShardSize, device: str) -> float:
    """Return about how many seconds one worker takes for a shard, without loading the model."""
    size = ShardSize.of(shard) if isinstance(shard, Path) else shard
    n_rows = size.n_examples
    if pass_.model is None or not any(ride.scorer.reads_weights for ride in pass_.rides):
        return n_rows * RENDERING_S
    if not pass_.is_forward or pass_.model.n_parameters is None:
        return n_rows * UNKNOWN_S
    flops = 2.0 * pass_.model.n_parameters * size.text_bytes / BYTES_PER_TOKEN
    once = n_rows * RENDERING_S + flops / FLOPS_PER_S[device.partition(":")[0]]
    return once * len(pass_.renderings)


def _text_bytes(footer: Any) -> int:
    """Return the bytes of the conversations in a shard, before compression."""
    sizes = (
        column.total_uncompressed_size
        for group in map(footer.row_group, range(footer.num_row_groups))
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema.partition(".")[0] == TEXT
    )
    return sum(sizes)
