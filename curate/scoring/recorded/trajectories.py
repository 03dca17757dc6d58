"""Training trajectories: the response loss of every pool example at evenly spaced points of a run.

The result is an ordinary score set of the pool, ``trajectory``: ``losses`` (mean NLL in nats per
response token, end of turn included) and ``steps``, one entry per point. It is not a registered scorer:
it is not a function of a view of the pool, but of a training run.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from curate.errors import ConfigError, TrainError
from curate.store.parts import part_schema, read_part, write_part
from curate.store.records import POOL_INPUT, ScoreKey
from curate.train.recorder import RunContext
from curate.train.steps.batches import Rows

if TYPE_CHECKING:
    from torch import Tensor

    from curate.contracts import Rendering
    from curate.models.load import ResolvedModel
    from curate.models.text.render import Renderer
    from curate.store import ScoreSet, Shard, Store
    from curate.train.model import TrainedModel
    from curate.train.processes import Processes

SCORER: Final = "trajectory"
VERSION: Final = 1
OUTPUTS: Final[Mapping[str, str]] = {"losses": "floats", "steps": "ints"}
NON_FINITE: Final = "non_finite"
FOLDER: Final = "trajectory"


def spaced_steps(n_steps: int, points: int) -> tuple[int, ...]:
    """Return ``points`` evenly spaced steps of a run, including the last one but not the start.

    Raises `ConfigError` for more points than steps.

    Examples
    --------
    >>> spaced_steps(10, 4)
    (2, 5, 7, 10)
    """
    if not 1 <= points <= n_steps:
        raise ConfigError(
            f"cannot record {points} points of a run of {n_steps} steps; record 1 to {n_steps}, "
            "or train longer"
        )
    return tuple((point * n_steps) // points for point in range(1, points + 1))


def trajectory_key(store: "Store", context: RunContext, points: int, source: str) -> ScoreKey:
    """Return what determines a trajectory: the run, the points, how they are measured, and the pool."""
    recipe = {name: value for name, value in context.identity.items() if name != "rows"}
    return ScoreKey(
        scorer=SCORER,
        version=VERSION,
        config={"points": points, "source": source, "recipe": recipe},
        model=model_key(context.resolved),
        tokenizer=context.resolved.tokenizer_hash,
        template=template_key(context.rendering, context.resolved),
        max_length=context.rendering.max_length or context.resolved.max_length,
        dtype=context.config.compute.dtype,
        inputs={"training": context.identity["rows"], POOL_INPUT: store.pool_hash()},
    )


def model_key(resolved: "ResolvedModel") -> dict[str, Any]:
    """Return a model as score keys name it."""
    return {
        "name": resolved.name if resolved.revision else None,
        "fingerprint": resolved.fingerprint,
        "adapter": resolved.adapter_fingerprint,
    }


def template_key(rendering: "Rendering", resolved: "ResolvedModel") -> str:
    """Return a template as score keys name it."""
    if rendering.template != "chat":
        return rendering.template
    return f"chat@{resolved.chat_template_hash}{resolved.chat.key}"


@final
@dataclass(frozen=True, slots=True, eq=False)
class PointWork:
    """Measures the pool at one point after another, and combines the points.

    A finished shard of a point is a file, so that a resumed run does not measure it again.

    Parameters
    ----------
    score_set, shards
        The score set to fill, and the pool.
    folder
        Folder of unfinished work.
    renderer, rendering, batch_tokens
        How examples become tokens and batches.
    """

    score_set: "ScoreSet"
    shards: Sequence["Shard"]
    folder: Path
    renderer: "Renderer"
    rendering: "Rendering"
    batch_tokens: int

    def measure(self, step: int, model: "TrainedModel", processes: "Processes | None") -> int:
        """Measure every shard not yet measured, shared among the processes. Return tokens run."""
        count, index = (1, 0) if processes is None else (processes.count, processes.index)
        tokens = 0
        for shard in self.shards[index::count]:
            path = self._part(step, shard)
            if not path.exists():
                table, used = self._measure(shard, model)
                write_part(path, table, {"tokens": used})
                tokens += used
        if processes is None:
            return tokens
        return int(processes.add(np.array([float(tokens)]))[0])

    def missing(self, steps: Sequence[int]) -> list[int]:
        """Return the steps that are not measured for the whole pool."""
        return [s for s in steps if not all(self._part(s, shard).exists() for shard in self.shards)]

    def assemble(self, store: "Store", steps: Sequence[int], device: str) -> str:
        """Write the parts of the score set, commit them, and remove the unfinished work."""
        pending, written = store.pending_shards(self.score_set, self.shards)
        for shard in pending:
            table, facts = self._joined(shard, steps)
            write_part(self.score_set.part(shard.shard_id), table, {**facts, "device": device})
        store.commit_parts(self.score_set, [s.shard_id for s in (*pending, *written)])
        store.finish(self.score_set)
        shutil.rmtree(self.folder / self.score_set.set_id, ignore_errors=True)
        return self.score_set.set_id

    def _part(self, step: int, shard: "Shard") -> Path:
        folder = self.folder / self.score_set.set_id / f"step-{step:08d}"
        return folder / f"{shard.shard_id}.parquet"

    def _measure(self, shard: "Shard", model: "TrainedModel") -> tuple[pa.Table, int]:
        from curate.scoring.windows import read_examples
        from curate.train.evaluation.evaluate import evaluating, response_nll

        ids: list[str] = []
        rendered = []
        for block in read_examples(shard.path):
            ids += [example.id for example in block]
            rendered += self.renderer.render(block, self.rendering)
        good = [row for row in rendered if not isinstance(row, str)]
        with evaluating(model):
            sums = response_nll(model, good, self.batch_tokens)
        means = iter(sums / np.array([len(row.targets) for row in good]))
        losses = [None if isinstance(row, str) else float(next(means)) for row in rendered]
        failure = [row if isinstance(row, str) else None for row in rendered]
        columns = {"id": pa.array(ids), "loss": pa.array(losses, pa.float64())}
        table = pa.table({**columns, "failure": pa.array(failure, pa.string())})
        return table, sum(len(row.ids) for row in good)

    def _joined(self, shard: "Shard", steps: Sequence[int]) -> tuple[pa.Table, dict[str, Any]]:
        tables, tokens = [], 0
        for step in steps:
            table, facts = read_part(self._part(step, shard))
            tables.append(table)
            tokens += facts["tokens"]
        losses = np.array([t["loss"].to_numpy() for t in tables], dtype=np.float64).T
        ids = tables[0]["id"].to_pylist()
        table = joined_table(
            ids, losses, np.tile(np.array(steps), (len(ids), 1)), tables[0]["failure"].to_pylist()
        )
        return table, {"tokens": tokens, "wall_s": 0.0}


def joined_table(
    ids: Sequence[str],
    losses: Float[np.ndarray, "n k"],
    steps: np.ndarray,
    failures: Sequence[str | None],
) -> pa.Table:
    """Return a part of the score set; a row with a loss that is not finite fails."""
    reasons = [
        reason or (None if np.isfinite(row).all() else NON_FINITE)
        for row, reason in zip(losses, failures, strict=True)
    ]
    fine = [reason is None for reason in reasons]
    schema = part_schema(OUTPUTS)
    columns = [
        pa.array(list(ids), pa.string()),
        pa.array(
            [row.tolist() if ok else None for row, ok in zip(losses, fine, strict=True)],
            schema.field("losses").type,
        ),
        pa.array(
            [row.tolist() if ok else None for row, ok in zip(steps, fine, strict=True)],
            schema.field("steps").type,
        ),
        pa.array(reasons, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


@final
class TrajectoryRecorder:
    """Records the loss of every pool example at evenly spaced points of a run, inside the process.

    Cost: one forward scoring pass over the pool per point; the model is not loaded again.

    Parameters
    ----------
    store
        Whose pool is measured; it may hold more than the run trains on.
    points
        How many, K of the paper.
    alias
        Name of the score set.
    """

    source: Final = "run"

    def __init__(self, store: "Store", points: int, *, alias: str = SCORER) -> None:
        self._store = store
        self._points = points
        self._alias = alias
        self._steps: tuple[int, ...] = ()
        self._work: PointWork | None = None
        self._done: str | None = None

    def begin(self, context: RunContext) -> None:
        """Find or create the score set; nothing is measured again if it is complete.

        Raises `TrainError` for a run that goes on after a point at which nothing was measured, as
        `finish` would in the end.
        """
        from curate.train.checkpoints import RunFolder

        self._steps = spaced_steps(context.n_steps, self._points)
        key = trajectory_key(self._store, context, self._points, self.source)
        self._done = complete_set(self._store, key)
        if self._done is None:
            self._work = open_work(self._store, key, self._alias, context)
            run = RunFolder(context.folder)
            reached = max(run.steps(), default=0)
            if not run.record.exists():
                self._refuse_gap(self._work, [step for step in self._steps if step <= reached])

    def is_stored(self) -> bool:
        """Return whether the store already has the score set of this run."""
        return self._done is not None

    def observe(self, step: int, rows: Rows, losses: Float[np.ndarray, " n"]) -> None:
        """Ignore the losses of training."""

    def is_due(self, step: int) -> bool:
        """Return whether a step is one of the points."""
        return self._work is not None and step in self._steps

    def record(self, step: int, model: "TrainedModel", processes: "Processes") -> int:
        """Measure the pool with the weights after a step; return the tokens run."""
        assert self._work is not None
        return self._work.measure(step, model, processes)

    def finish(self, processes: "Processes") -> str | None:
        """Store the trajectories; return the id of their score set.

        Raises `TrainError` if a point is missing, because the run stopped early or resumed from a
        checkpoint saved before it was recorded.
        """
        if self._work is None:
            return self._done
        processes.wait()
        self._refuse_gap(self._work, self._steps)
        if processes.is_main:
            self._work.assemble(self._store, self._steps, str(processes.device))
        processes.wait()
        return self._work.score_set.set_id

    def _refuse_gap(self, work: PointWork, steps: Sequence[int]) -> None:
        missing = work.missing(steps)
        if missing:
            raise TrainError(
                f"the pool was not measured at step {missing[0]} (a recorded run must not stop "
                "early, and pool and settings must not change between its parts); "
                "train again in another folder"
            )

    def tensors(self) -> "dict[str, Tensor]":
        """Return nothing: measurements are files."""
        return {}

    def restore(self, tensors: "dict[str, Tensor]") -> None:
        """Take nothing."""


def complete_set(store: "Store", key: ScoreKey) -> str | None:
    """Return the id of the score set with this key if it is complete in the store."""
    return next(
        (s.set_id for s in store.score_sets() if s.set_id == key.set_id and s.complete), None
    )


def open_work(store: "Store", key: ScoreKey, alias: str, context: RunContext) -> PointWork:
    """Find or create the score set of a key, and the work that fills it."""
    shards = store.shards()
    if not shards:
        raise ConfigError("the pool is empty; ingest some examples first: curate ingest DATA")
    micro = context.config.data.micro_tokens
    assert micro is not None
    score_set = store.score_set(key, alias, {"batch_tokens": micro})
    return PointWork(
        score_set,
        shards,
        context.folder / FOLDER,
        context.renderer,
        context.rendering,
        int(score_set.run["batch_tokens"]),
    )
