"""The approximate trajectory: losses that the training steps measured anyway, one per epoch.

It costs no forward pass and is not the published method: each example's loss is of the step in which
it was drawn, so part of what it shows is when that was. Each loss is therefore taken relative to its
batch: minus the batch's mean, plus the epoch's. Examples that were not trained on have none.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, final

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float

from curate.errors import ConfigError
from curate.scoring.recorded.trajectories import SCORER, complete_set, joined_table, trajectory_key
from curate.store.parts import write_part
from curate.store.records import ScoreKey
from curate.train.recorder import RunContext
from curate.train.steps.batches import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from curate.store import Store
    from curate.train.model import TrainedModel
    from curate.train.processes import Processes

NOT_TRAINED: Final = "not_trained_on"
_PREFIX: Final = "recorder/"


@final
class TrainLogRecorder:
    """Keeps the loss of each training example in each epoch (``source=train_log``, approximate).

    Parameters
    ----------
    store
        Whose pool the training rows are part of.
    alias
        Name of the score set.
    """

    source: Final = "train_log"

    def __init__(self, store: "Store", *, alias: str = SCORER) -> None:
        self._store = store
        self._alias = alias
        self._context: RunContext | None = None
        self._losses = np.zeros((0, 0))
        self._batch = np.zeros((0, 0))
        self._steps = np.zeros((0, 0), dtype=np.int64)

    def begin(self, context: RunContext) -> None:
        """Make room for one loss per row and epoch.

        Raises `ConfigError` unless the run goes over its rows a whole number of times, and twice
        at least.
        """
        epochs = context.config.length.epochs
        method = context.config.method
        if epochs is None or epochs < 2 or method.mixture.every is not None:
            raise ConfigError(
                "source=train_log needs a run of at least 2 epochs over all rows; set epochs, or "
                "use the trajectories of the run itself"
            )
        if method.policy.size(2) != 2:
            raise ConfigError(
                f"source=train_log needs every row in every epoch, and policy "
                f"{method.policy.name!r} drops some; use the trajectories of the run itself"
            )
        self._context = context
        shape = (len(context.prepared), epochs)
        self._losses, self._batch = np.full(shape, np.nan), np.full(shape, np.nan)
        self._steps = np.zeros(shape, dtype=np.int64)

    def observe(self, step: int, rows: Rows, losses: Float[np.ndarray, " n"]) -> None:
        """Keep the losses of a step."""
        epoch = np.isfinite(self._losses[rows]).sum(1)
        self._losses[rows, epoch] = losses
        self._batch[rows, epoch] = losses.mean()
        self._steps[rows, epoch] = step

    def is_stored(self) -> bool:
        """Return whether the store already has the score set of this run."""
        assert self._context is not None
        key = trajectory_key(self._store, self._context, self._losses.shape[1], self.source)
        return complete_set(self._store, key) is not None

    def is_due(self, step: int) -> bool:
        """Never: nothing else is measured."""
        return False

    def record(self, step: int, model: "TrainedModel", processes: "Processes") -> int:
        """Measure nothing."""
        return 0

    def finish(self, processes: "Processes") -> str | None:
        """Store one entry per epoch for every training example; the others fail as not trained on."""
        context = self._context
        assert context is not None
        key = trajectory_key(self._store, context, self._losses.shape[1], self.source)
        if processes.is_main and complete_set(self._store, key) is None:
            relative = self._losses - self._batch + np.nanmean(self._losses, axis=0)
            place = {row.id: number for number, row in enumerate(context.prepared.rows)}
            self._write(key, relative, place, processes)
        processes.wait()
        return key.set_id

    def _write(
        self,
        key: ScoreKey,
        relative: Float[np.ndarray, "n k"],
        place: Mapping[str, int],
        processes: "Processes",
    ) -> None:
        k = relative.shape[1]
        score_set = self._store.score_set(key, self._alias, {})
        shards = self._store.shards()
        pending, _ = self._store.pending_shards(score_set, shards)
        for shard in pending:
            ids = pq.read_table(shard.path, columns=["id"]).column("id").to_pylist()
            rows = [place.get(i) for i in ids]
            losses = np.array([np.zeros(k) if row is None else relative[row] for row in rows])
            steps = np.array([np.zeros(k) if row is None else self._steps[row] for row in rows])
            failures = [NOT_TRAINED if row is None else None for row in rows]
            table = joined_table(ids, losses, steps.astype(np.int64), failures)
            facts = {"tokens": 0, "wall_s": 0.0, "device": str(processes.device)}
            write_part(score_set.part(shard.shard_id), table, facts)
        self._store.commit_parts(score_set, [shard.shard_id for shard in shards])
        self._store.finish(score_set)

    def tensors(self) -> "dict[str, Tensor]":
        """Return the losses so far."""
        return {
            _PREFIX + "losses": torch.from_numpy(self._losses),
            _PREFIX + "batch": torch.from_numpy(self._batch),
            _PREFIX + "steps": torch.from_numpy(self._steps),
        }

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Continue from the losses of a checkpoint."""
        if _PREFIX + "losses" in tensors:
            self._losses = tensors[_PREFIX + "losses"].numpy().copy()
            self._batch = tensors[_PREFIX + "batch"].numpy().copy()
            self._steps = tensors[_PREFIX + "steps"].numpy().copy()
