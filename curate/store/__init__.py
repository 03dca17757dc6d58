"""The store: one DuckDB file and a folder of Parquet parts, opened only here."""

from typing import TYPE_CHECKING, Any

from curate.store.records import (
    Dataset,
    Finding,
    IngestCounts,
    ScoreKey,
    ScoreSet,
    ScoreSetStatus,
    Shard,
)

if TYPE_CHECKING:
    from curate.store.pool.writer import PoolWriter
    from curate.store.store import Store

__all__ = [
    "Dataset", "Finding", "IngestCounts", "PoolWriter", "ScoreKey", "ScoreSet", "ScoreSetStatus",
    "Shard", "Store",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # workers import `curate.store.parts`, and must not load DuckDB
    if name == "Store":
        from curate.store.store import Store

        return Store
    if name == "PoolWriter":
        from curate.store.pool.writer import PoolWriter

        return PoolWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
