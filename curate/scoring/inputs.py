"""What a derived scorer reads in a worker: the parts of other score sets for the same shard."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from curate.contracts import FAILURE, Columns
from curate.errors import ScoreError
from curate.store.parts import read_parquet

TRIES: Final = 10
PAUSE_S: Final = 0.2  # forgetting rewrites a shard and its parts one after another


@final
@dataclass(frozen=True, eq=False)
class Inputs:
    """Scores of the examples of one shard, in the shard's order.

    Parameters
    ----------
    ids
        Example ids, (n,).
    table
        One column per ``alias.column``.
    scored
        Whether an example has every score, (n,).
    """

    ids: Sequence[str]
    table: pa.Table
    scored: Bool[np.ndarray, " n"]

    @classmethod
    def read(cls, parts: Mapping[str, Path], only: pa.Array | None = None) -> "Inputs":
        """Read the parts of one shard, by alias; with ``only``, just those ids.

        Raises `ScoreError` if a part is missing or parts hold different examples.
        """
        ids: list[str] = []
        columns: dict[str, pa.ChunkedArray] = {}
        scored = np.ones(0, dtype=bool)
        for alias, path in parts.items():
            if not path.is_file():
                raise ScoreError(
                    f"the scores {alias!r} of this shard are not at {path}; "
                    "run the same scoring command again"
                )
            part = read_parquet(path)
            if only is not None:
                part = part.filter(pc.is_in(part.column("id"), only))
            part_ids = part.column("id").to_pylist()
            if columns and part_ids != ids:
                raise ScoreError(
                    f"{path} holds different examples from {', '.join(parts)} of its shard"
                )
            fine = np.asarray(part.column(FAILURE).is_null())
            scored = scored & fine if columns else fine
            ids = part_ids
            columns |= {
                f"{alias}.{name}": part.column(name)
                for name in part.column_names
                if name not in ("id", FAILURE)
            }
        return cls(ids, pa.table(columns), scored)

    def take(self, rows: Sequence[int]) -> Columns:
        """Return the scores of some examples, which must all have them."""
        chosen = self.table.take(pa.array(rows, pa.int64()))
        return {
            name: chosen.column(name).to_numpy(zero_copy_only=False)
            for name in self.table.schema.names
        }


def inputs_of(shard: Path, parts: Mapping[str, Path], only: pa.Array | None = None) -> Inputs:
    """Read the scores of a shard's examples; waits while examples of it are being forgotten.

    Raises `ScoreError` if the parts hold other examples than the shard, or one is missing, and
    `StoreError` if the shard is gone.
    """
    for _ in range(TRIES - 1):
        try:
            inputs = Inputs.read(parts, only)
        except ScoreError:  # one part is of before and another of after
            inputs = None
        if inputs is not None and list(inputs.ids) == ids_of(shard, only):
            return inputs
        time.sleep(PAUSE_S)
    ids_of(shard, only)
    return Inputs.read(parts, only)


def ids_of(shard: Path, only: pa.Array | None) -> list[str]:
    """Return the ids of a shard's examples, in its order; with ``only``, just those."""
    ids = read_parquet(shard, ["id"])["id"]
    kept = ids if only is None else ids.filter(pc.is_in(ids, only))
    return [str(example_id) for example_id in kept.to_pylist()]
