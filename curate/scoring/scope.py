"""Scoring a part of the pool: the examples of a selection, into separate score sets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

from curate.contracts import PoolScorer
from curate.data.revisions import refuse_revised
from curate.errors import ConfigError
from curate.scoring.executors.worker import Portion
from curate.store.records import PART_INPUT, digest

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.scoring.requests import ScoreRequest
    from curate.store import Shard, Store


@final
@dataclass(frozen=True, slots=True)
class Scope:
    """The only examples to score: those of a stored selection.

    Parameters
    ----------
    selection
        Its id.
    path
        Parquet file with its ids, which the workers read.
    digest
        Hash of the ids, whatever their order: part of the key of what is scored.
    counts
        How many of them each shard holds; 0 for a shard not listed.
    """

    selection: str
    path: Path
    digest: str
    counts: Mapping[str, int]

    def n_of(self, shard: "Shard") -> int:
        """Return how many examples of a shard are to be scored."""
        return self.counts.get(shard.shard_id, 0)


def scope_of(store: "Store", selection: str) -> Scope:
    """Return the scope of a stored selection, given by its id or id prefix.

    Raises `ConfigError` if it is empty, or if none of its examples is still in the pool.
    """
    selection_id = store.selection(selection)["selection_id"]
    refuse_revised(store, [selection_id], "scoring it")
    ids = store.selection_rows(selection_id).column("id").to_pylist()
    scope = scope_of_ids(store, ids, selection_id)
    if not scope.counts:
        raise ConfigError(
            f"selection {selection_id} holds no example of this pool; there is nothing to score"
        )
    return scope


def scope_of_ids(store: "Store", ids: Sequence[str], name: str) -> Scope:
    """Return a scope of any examples, given by their ids; ``name`` is what it is called."""
    import pyarrow as pa

    from curate.store.connection import literal
    from curate.store.parts import write_parquet

    ids = sorted(ids)
    ids_digest = digest("\n".join(ids))
    # A file of its own: marks made by hand may change the selection while workers read.
    path = _file_of(store, ids_digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, pa.table({"id": pa.array(ids, pa.string())}))
    counts = store.read(
        "select shard, count(*) as n from internal.examples where id in "
        f"(select id from read_parquet({literal(str(path))})) group by shard"
    ).to_pylist()
    by_shard = {row["shard"]: int(row["n"]) for row in counts}
    return Scope(name, path, ids_digest, by_shard)


def n_in_scope(store: "Store", ids_digest: str) -> int | None:
    """Return how many examples a scope was made of, by its digest; None where its file is gone."""
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(_file_of(store, ids_digest)).num_rows)
    except FileNotFoundError:
        return None


def _file_of(store: "Store", ids_digest: str) -> Path:
    return store.parts / "cache" / "scopes" / f"{ids_digest}.parquet"


def only_within(
    store: "Store", requests: Sequence["ScoreRequest"], selection: str
) -> list["ScoreRequest"]:
    """Return requests for only the examples of a stored selection; see `restricted`."""
    scope = scope_of(store, selection)
    complete = {s.set_id for s in store.score_sets() if s.complete and s.content_hash is not None}
    return [restricted(request, scope, complete) for request in requests]


def refuse(selection: str, runs: Collection[str], *, estimated: bool) -> None:
    """Raise `ConfigError` for what cannot be combined with a scope: recorded scores and estimates."""
    for scorer in runs:
        raise ConfigError(needs_the_pool(scorer, selection))
    if estimated:
        raise ConfigError(
            f"--dry-run and --limit estimate the whole pool, but --within {selection} scores part "
            "of it; leave one of them out"
        )


def needs_the_pool(scorer: str, selection: str) -> str:
    """Say that a scorer cannot score a part of the pool."""
    return (
        f"scorer {scorer!r} sees the whole pool at once and cannot score the examples of selection "
        f"{selection} alone; score the pool, without --within"
    )


def restricted(request: "ScoreRequest", scope: Scope, complete: Collection[str]) -> "ScoreRequest":
    """Return a request for only the examples of a scope, and for what it reads.

    A score set in ``complete``, which holds scores of the whole pool, is used as is. The others
    get their own key: they hold other examples, in differently composed batches.

    Raises `ConfigError` for a scorer that sees the whole pool at once.
    """
    if request.key.set_id in complete:
        return request
    if isinstance(request.scorer, PoolScorer):
        raise ConfigError(needs_the_pool(request.scorer.name, scope.selection))
    inputs = [restricted(inner, scope, complete) for inner in request.inputs]
    renamed = {old.key.set_id: new for old, new in zip(request.inputs, inputs, strict=True)}
    read = {
        alias: renamed[set_id].key.set_id if set_id in renamed else set_id
        for alias, set_id in request.key.inputs.items()
    }
    specs = {
        alias: renamed[set_id].spec() if set_id in renamed else request.input_specs[alias]
        for alias, set_id in request.key.inputs.items()
        if alias in request.input_specs
    }
    key = replace(request.key, inputs={**read, PART_INPUT: scope.digest})
    return replace(request, key=key, inputs=tuple(inputs), input_specs=specs, scope=scope)


def ids_in(path: Path) -> "pa.Array":
    """Return the ids a scope's file lists."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read(columns=["id"]).column("id").combine_chunks()


def narrowed(only: "pa.Array | None", portion: Portion) -> "pa.Array | None":
    """Return the ids of the only examples to run: those of a trial, or those a pass runs anyway."""
    import pyarrow as pa

    return only if portion.only is None else pa.array(sorted(portion.only), pa.string())
