"""Run a scorer that needs the whole pool, and cut its columns into the pool's shards."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Num

from curate.contracts import Columns, PoolScorer, View
from curate.errors import ScoreError
from curate.scoring.outcome import INPUT_FAILED, refuse_lost
from curate.store.parts import part_schema, read_parquet, write_part

if TYPE_CHECKING:
    from curate.store import ScoreSet, Shard, Store


def run_pool_scorer(
    store: "Store",
    scorer: PoolScorer,
    inputs: Mapping[str, str],
    made: "ScoreSet",
    shards: Sequence["Shard"],
    device: str,
) -> None:
    """Run a pool scorer once and write one part per shard, atomically each.

    Examples that are not in the view (their inputs failed) fail with reason ``input_failed``, and
    non-finite values with ``non_finite``. Raises `ScoreError` for missing columns or a wrong
    number of rows; nothing is written then.
    """
    began = time.perf_counter()
    view = store.view(bind=dict(inputs))
    view = replace(view, texts=lambda rows: store.texts(view.ids[rows]))
    columns = scorer.run(view, device)
    _check(scorer, columns, len(view))
    wall_s = time.perf_counter() - began
    for shard in shards:
        if not shard.path.exists():
            refuse_lost(store, shard.shard_id, shard.path)
            continue
        table = _part(scorer, columns, view, shard.path)
        share = wall_s * shard.n_examples / max(1, view.n_pool)
        write_part(
            made.part(shard.shard_id), table, {"tokens": 0, "wall_s": share, "device": device}
        )


def _check(scorer: PoolScorer, columns: Columns, n: int) -> None:
    missing = sorted(set(scorer.outputs) - set(columns))
    if missing:
        raise ScoreError(
            f"scorer {scorer.name!r} returned no column {missing[0]!r}; nothing was written"
        )
    for name in scorer.outputs:
        if len(columns[name]) != n:
            raise ScoreError(
                f"scorer {scorer.name!r} returned {len(columns[name])} rows of {name!r} for {n} "
                "examples; nothing was written"
            )


def _part(scorer: PoolScorer, columns: Columns, view: View, shard: Path) -> pa.Table:
    ids = read_parquet(shard, ["id"]).column("id").to_numpy(zero_copy_only=False)
    wanted = ids.astype("S32")
    rows = np.searchsorted(view.ids, wanted)
    rows = np.minimum(rows, max(len(view) - 1, 0))
    in_view = view.ids[rows] == wanted if len(view) else np.zeros(len(wanted), dtype=bool)
    failure = np.full(len(ids), None, dtype=object)
    failure[~in_view] = INPUT_FAILED
    schema = part_schema({name: column.dtype for name, column in scorer.outputs.items()})
    arrays = [pa.array(ids, pa.string())]
    for name in scorer.outputs:
        values = np.asarray(columns[name])[rows] if len(view) else np.zeros(len(wanted))
        bad = in_view & ~_finite(values)
        failure[bad] = "non_finite"
        good = in_view & ~bad
        listed = [value if ok else None for value, ok in zip(values.tolist(), good, strict=True)]
        arrays.append(pa.array(listed, schema.field(name).type))
    arrays.append(pa.array(failure, pa.string()))
    return pa.Table.from_arrays(arrays, schema=schema)


def _finite(values: Num[np.ndarray, " n *dim"]) -> Bool[np.ndarray, " n"]:
    if values.dtype.kind != "f":
        return np.ones(len(values), dtype=bool)
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))
