"""`train`: from a configuration and rows to a folder of weights and a record of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts.progress import Progress, SilentProgress
from curate.data.write.portable import Portable
from curate.errors import ConfigError, DataError
from curate.models.load import resolve_model
from curate.store.records import canonical_json, digest
from curate.train.checkpoints import RECORD, RunFolder
from curate.train.claim import alone_in
from curate.train.config import TrainConfig, flatten
from curate.train.data import Prepared, TrainRow
from curate.train.memory import memory_of
from curate.train.ready import Ready
from curate.train.recorder import NoRecorder, Recorder, RunContext

if TYPE_CHECKING:
    from curate.train.loop import Loop
    from curate.train.processes import Processes
    from curate.train.record import TrainRecord

EVALUATIONS: Final = "evaluations.safetensors"


def train(
    config: TrainConfig,
    rows: Sequence[TrainRow],
    output: str | Path,
    *,
    evaluation: Mapping[str, Sequence[TrainRow]] | None = None,
    recorder: Recorder | None = None,
    progress: Progress | None = None,
) -> "TrainRecord":
    """Fine-tune a model on some rows and save it where transformers (or peft) loads it.

    The same call on the same folder resumes where it stopped; on a finished run it returns the
    record at once, after evaluating the saved weights on any new sets. On a CPU the result is
    bit-identical, also after a kill and a resume. Started by ``torchrun`` or ``accelerate launch``,
    every process makes the same call.

    Parameters
    ----------
    config
        Every setting.
    rows
        What to train on; their order does not matter.
    output
        Folder that does not exist yet, or holds the same run.
    evaluation
        Held-out rows by name; the first set controls early stopping.
    recorder
        Watches the run, for instance `curate.scoring.recorded.trajectories.TrajectoryRecorder`.
    progress
        Receives progress.

    Raises
    ------
    ConfigError
        A setting is wrong, the rows are less than one batch, or the folder holds something else.
    DataError
        No row can be used.
    ModelError
        The model cannot be used.
    TrainError
        The loss is not finite, or a checkpoint does not fit.
    InterruptedRunError
        SIGINT, SIGTERM or SIGHUP, after saving a checkpoint.
    """
    folder = RunFolder(Path(output).absolute())
    with alone_in(folder.path) as is_held:
        return _train(
            config, rows, folder, is_held, evaluation or {}, recorder or NoRecorder(),
            progress or SilentProgress(),
        )  # fmt: skip


def _train(
    config: TrainConfig,
    rows: Sequence[TrainRow],
    folder: RunFolder,
    is_held: bool,
    evaluation: Mapping[str, Sequence[TrainRow]],
    recorder: Recorder,
    progress: Progress,
) -> "TrainRecord":
    from curate.train.loop import Loop
    from curate.train.model import load_trained_model
    from curate.train.processes import Processes, reproducible

    sizes_passes = config.data.micro_tokens is None
    run = Ready.of(config, rows, evaluation)
    config, prepared, held_out, stream = run.config, run.prepared, run.held_out, run.stream
    for text in (prepared.describe("training"), run.said):
        if text is not None:
            progress.note(text)
    for name, listed in held_out.items():
        progress.note(listed.describe(name))
    processes = Processes.join(config.compute.device, config.watch.report_to, str(folder.path))
    with processes.accelerator.main_process_first():
        folder.open(run.identity, write=processes.is_main, is_held=is_held)
    context = RunContext(
        config,
        run.identity,
        run.resolved,
        run.renderer,
        config.data.rendering,
        prepared,
        stream.n_steps,
        folder.path,
    )
    recorder.begin(context)
    if folder.record.exists():
        if not recorder.is_stored():
            raise ConfigError(
                f"the run in {folder.path} is complete, but its trajectory is not in this store; "
                "give another output folder to train and record again"
            )
        progress.note(f"{folder.path} holds this run, already complete; nothing is trained")
        return _with_new_sets(load_record(folder.path), context, held_out, processes)
    device, threads_wanted = processes.device, config.compute.threads
    with memory_of(config, str(device)), reproducible(device, threads_wanted) as threads:
        model = load_trained_model(run.resolved, config, processes.device)
        loop = Loop(
            config, model, prepared, stream, held_out, folder, processes, recorder, progress
        )
        if sizes_passes:
            context = replace(context, config=loop.fit_passes())
        _open_tracker(config, processes)
        try:
            with memory_of(context.config, str(device)):
                loop.run()
        finally:
            for tracker in getattr(processes.accelerator, "trackers", []):
                tracker.finish()
        trajectory = recorder.finish(processes)
        return _finish(loop, context, threads, trajectory)


def run_id(identity: Mapping[str, Any]) -> str:
    """Return 16 hex digits that name a run by its identity."""
    return digest(canonical_json(identity), 8)


def load_record(output: str | Path) -> "TrainRecord":
    """Return the record of a finished run from its folder; raise `DataError` if there is none."""
    from safetensors.numpy import load_file

    from curate.store.parts import read_json
    from curate.train.evaluation.evaluate import Evaluation
    from curate.train.record import record_from

    folder = Path(output).absolute()
    if not (folder / RECORD).is_file():
        raise DataError(f"{folder} holds no finished training run; run curate train -o {folder}")
    values = read_json(folder / RECORD)
    arrays = load_file(folder / EVALUATIONS)
    evaluations = []
    for entry in values["evaluations"]:
        key = f"{entry['name']}:{entry['step']}"
        correct = arrays.get(f"{key}:correct")
        evaluations.append(
            Evaluation(
                entry["name"], entry["step"], tuple(values["ids"][entry["name"]]),
                arrays[f"{key}:nll"], arrays[f"{key}:n_tokens"],
                None if correct is None else correct.astype(bool),
            )
        )  # fmt: skip
    return record_from(values, evaluations, folder)


def _open_tracker(config: TrainConfig, processes: "Processes") -> None:
    if config.watch.report_to != "none":
        plain = {name: str(value) for name, value in flatten(config.as_dict()).items()}
        processes.accelerator.init_trackers("curate", config=plain)


def _finish(
    loop: "Loop", context: RunContext, threads: int, trajectory: str | None
) -> "TrainRecord":
    """Save the weights, then the record, whose existence means that the run is complete."""
    from curate.train.evaluation.generation import evaluation_key
    from curate.train.record import HISTORY, Cost, TrainRecord, peak_bytes, versions

    counters, prepared = loop.counters, context.prepared
    trained = 6 if context.config.method.lora is None else 4
    flops = loop.model.n_parameters * (trained * counters.tokens + 2 * counters.other_tokens)
    record = TrainRecord(
        run_id=run_id(context.identity),
        config={
            "settings": context.config.as_dict(),
            "identity": context.identity,
            "threads": threads,
            "processes": loop.processes.count,
            "fused_loss": loop.fused_loss,
            "rows": {
                "used": len(prepared),
                "truncated": prepared.n_truncated,
                "left_out": dict(prepared.failures),
            },
            "evaluation": {
                name: evaluation_key(rows, context.config) for name, rows in loop.evaluation.items()
            },
            "parameters": {"all": loop.model.n_parameters, "trained": loop.model.n_trained},
        },
        versions=versions(),
        history=np.array(loop.history, dtype=np.float64).reshape(-1, len(HISTORY)),
        cost=Cost(
            tokens=counters.tokens,
            padding=1 - counters.tokens / counters.padded_tokens if counters.padded_tokens else 0.0,
            other_tokens=counters.other_tokens,
            seconds=counters.seconds,
            peak_bytes=peak_bytes(loop.processes.device),
            flops=float(flops),
            energy_j=counters.energy_j,
        ),
        evaluations=tuple(loop.evaluations),
        output=context.folder,
        outcome={
            "steps": loop.step,
            "planned_steps": loop.stream.n_steps,
            "stopped_early": counters.stopped_early,
            "final_step": loop.final_step,
            "trajectory": trajectory,
        },
    )
    if loop.processes.is_main:
        loop.folder.put(loop.model.save)
        _write(record)
    loop.processes.wait()
    return record


def _write(record: "TrainRecord") -> None:
    """Write the arrays of a record, then the record itself."""
    from safetensors.numpy import save_file

    from curate.store.parts import atomic_path, write_json

    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for evaluation in record.evaluations:
        key = f"{evaluation.name}:{evaluation.step}"
        arrays |= {f"{key}:nll": evaluation.nll, f"{key}:n_tokens": evaluation.n_tokens}
        if evaluation.correct is not None:
            arrays[f"{key}:correct"] = evaluation.correct.astype(np.uint8)
    with atomic_path(record.output / EVALUATIONS) as temporary:
        save_file(arrays, temporary)
    ids = {evaluation.name: list(evaluation.ids) for evaluation in record.evaluations}
    values = Portable(record.output).value(record.as_dict())
    write_json(record.output / RECORD, {**values, "ids": ids})


def _with_new_sets(
    record: "TrainRecord",
    context: RunContext,
    evaluation: Mapping[str, Prepared],
    processes: "Processes",
) -> "TrainRecord":
    """Evaluate the saved weights of a finished run on the sets it has not seen yet."""
    from curate.train.evaluation.generation import evaluate_fully, evaluation_key
    from curate.train.model import load_trained_model
    from curate.train.processes import reproducible

    keys = {name: evaluation_key(rows, context.config) for name, rows in evaluation.items()}
    known = record.config["evaluation"]
    new = [name for name in evaluation if known.get(name) != keys[name]]
    if not new:
        return record
    has_adapter = context.config.method.lora is not None
    base = context.resolved if has_adapter else resolve_model(str(context.folder))
    with reproducible(processes.device, context.config.compute.threads):
        model = load_trained_model(
            base,
            context.config,
            processes.device,
            adapter=context.folder if has_adapter else None,
        )
        step = record.outcome["final_step"]
        added = [
            evaluate_fully(model, evaluation[name], processes, context.config, name, step)
            for name in new
        ]
    kept = [earlier for earlier in record.evaluations if earlier.name not in new]
    config = {**record.config, "evaluation": {**known, **keys}}
    record = replace(record, config=config, evaluations=(*kept, *added))
    if processes.is_main:
        _write(record)
    processes.wait()
    return record
