"""`curate train`: rows from a selection or a file, an optional recording, a record in the store."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.contracts.progress import Progress
from curate.errors import ConfigError
from curate.models.room import GIB
from curate.train.config import SEAMS
from curate.train.data import rows_of_data, rows_of_selection
from curate.train.ready import Ready
from curate.train.recipes import build_config
from curate.train.room import TrainingRoom

if TYPE_CHECKING:
    from curate.store import Store
    from curate.train.config import TrainConfig
    from curate.train.data import TrainRow
    from curate.train.record import TrainRecord
    from curate.train.recorder import Recorder


def train_on(
    store: "Store | None",
    output: Path,
    *,
    model: str,
    selection: str | None,
    data: str | None,
    evaluate: tuple[str, ...],
    record_trajectories: int | None,
    progress: Progress,
    split: str = "train",
    settings: Mapping[str, Any] | None = None,
    revision: str | None = None,
    seed: int = 0,
    lora: bool = False,
    source: str = "run",
    dry_run: bool = False,
) -> "TrainRecord | dict[str, Any]":
    """Fine-tune a model on a selection or a file, and write its record to the store, if there is one.

    With ``dry_run`` nothing is trained: the plan is returned as plain data.

    Parameters
    ----------
    store
        Holds the selection and takes the record; may be None for a file.
    output
        Folder for the weights: a new one, or that of the same run, which then resumes.
    selection, data
        One of them: the id of a stored selection, or a file or hub id.
    evaluate
        Held-out files; the first one controls early stopping.
    record_trajectories
        Points at which the whole pool is measured, or None.
    settings
        Settings of `TrainConfig` by dotted name.
    source
        Of trajectories: ``run``, or ``train_log`` to approximate them by one loss per epoch.

    Raises
    ------
    ConfigError
        Neither or both of selection and data, a recording without a store, a wrong setting.
    DataError
        An unknown or empty selection, a file that cannot be read.
    """
    from curate.train.api import train
    from curate.train.record import save_record

    config = build_config(model, settings or {}, revision=revision, seed=seed, lora=lora)
    rows = _rows(store, selection, data, split)
    recorder = _recorder(store, record_trajectories, source)
    held_out = _evaluation(evaluate, split)
    if dry_run:
        points = record_trajectories if source == "run" else None
        return _plan(config, rows, held_out, output, points)
    record = train(config, rows, output, evaluation=held_out, recorder=recorder, progress=progress)
    if store is not None and os.environ.get("RANK", "0") == "0":  # one of several processes writes
        save_record(store, record, selection_id=selection)
    return record


def _plan(
    config: "TrainConfig",
    rows: "Sequence[TrainRow]",
    held_out: "Mapping[str, Sequence[TrainRow]]",
    output: Path,
    points: int | None,
) -> dict[str, Any]:
    """Plan a run; refuse what the run would refuse before it loads a model."""
    from curate.scoring.recorded.trajectories import spaced_steps
    from curate.train.checkpoints import RunFolder

    run = Ready.of(config, rows, held_out)
    RunFolder(output.absolute()).open(run.identity, write=False)
    if points is not None:
        spaced_steps(run.stream.n_steps, points)
    resolved, prepared = run.resolved, run.prepared
    parameters = resolved.n_parameters
    kept = None if parameters is None else TrainingRoom.of(parameters, run.config).total / GIB
    return {
        "model": resolved.name,
        "n_parameters": parameters,
        "rows": len(prepared),
        "left_out": dict(prepared.failures),
        "truncated": prepared.n_truncated,
        "tokens_an_epoch": int(prepared.lengths.sum()),
        "steps": run.stream.n_steps,
        "batch_tokens": run.config.data.batch_tokens,
        "memory_gib": None if kept is None else round(kept, 2),
        "template": run.config.data.template,
        **{kind: run.config.as_dict()["method"][kind] for kind in SEAMS},
        "evaluation_rows": {name: len(evaluated) for name, evaluated in run.held_out.items()},
    }


def check_rows(selection: str | None, data: str | None) -> None:
    """Raise `ConfigError` unless rows come from one of a selection and a file."""
    if (selection is None) == (data is None):
        given = "both are" if data is not None else "neither is"
        raise ConfigError(f"pass either --selection ID or --data FILE; {given} given")


def _rows(
    store: "Store | None", selection: str | None, data: str | None, split: str
) -> "list[TrainRow]":
    check_rows(selection, data)
    if data is not None:
        return rows_of_data(data, split=split)
    if store is None or selection is None:
        raise ConfigError("a selection needs its store; pass --store")
    return rows_of_selection(store, selection)


def _recorder(store: "Store | None", points: int | None, source: str) -> "Recorder | None":
    from curate.scoring.recorded.train_log import TrainLogRecorder
    from curate.scoring.recorded.trajectories import TrajectoryRecorder

    if source not in ("run", "train_log"):
        raise ConfigError(f"trajectories come from run or train_log, got {source!r}")
    if points is None and source == "run":
        return None
    if store is None:
        raise ConfigError("trajectories are recorded for the examples of a store; pass --store")
    return (
        TrainLogRecorder(store) if source == "train_log" else TrajectoryRecorder(store, points or 1)
    )


def _evaluation(files: Sequence[str], split: str) -> "dict[str, list[TrainRow]]":
    names = [Path(file).name.split(".")[0] or file for file in files]
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise ConfigError(f"two evaluation sets are named {doubled[0]!r}; rename one of the files")
    return {name: rows_of_data(file, split=split) for name, file in zip(names, files, strict=True)}
