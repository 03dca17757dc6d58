"""Trials: select, train, evaluate, store; what is already in the store is not repeated."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.contracts.progress import Progress
from curate.errors import ConfigError, MissingColumnError, MissingPackageError
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.prove.config import RANDOM, ProveConfig
from curate.select.options import SelectOptions
from curate.store import locks
from curate.train.data import prepare, rows_of_selection

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.prove.plan import Trial
    from curate.prove.targets import Target
    from curate.scoring.options import ScoringOptions
    from curate.store import Store
    from curate.train.record import TrainRecord

FOLDER: Final = "trials"
NEAR: Final = 2  # batches; a selection with fewer tokens is counted as training counts it


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The evaluation of one trial on one target, in order of example id."""

    ids: tuple[str, ...]
    nll: Float[np.ndarray, " n"]
    n_tokens: Int[np.ndarray, " n"]
    correct: Bool[np.ndarray, " n"] | None


@final
@dataclass(frozen=True, slots=True)
class NotApplicable:
    """A method that cannot select from this pool, and why."""

    reason: str


@final
@dataclass(frozen=True, slots=True)
class TrialResult:
    """A finished trial: its selection's record, what training cost, and its evaluations by target."""

    trial_id: str
    selection: Mapping[str, Any]
    cost: Mapping[str, Any]
    evaluations: Mapping[str, Measured]


def arrays_path(store: "Store", trial_id: str) -> Path:
    """Return the path of a trial's evaluations, example by example."""
    return store.parts / FOLDER / f"{trial_id}.parquet"


def choose(
    store: "Store",
    trial: "Trial",
    config: ProveConfig,
    scoring: "ScoringOptions",
    progress: Progress,
) -> dict[str, Any] | NotApplicable:
    """Select what a trial trains on; the whole pool is a random selection of everything eligible.

    A method that refuses this pool or budget, or chooses less than a batch, is not an error of the
    proof. Random's refusal is, and so are a missing model or package.
    """
    from curate.select.run import select, selects_towards

    options = SelectOptions(
        method=trial.arm.method or RANDOM,
        budget=trial.budget,
        settings=trial.arm.settings,
        seed=trial.seed,
        where=config.where,
        datasets=config.datasets,
        target=config.towards if selects_towards(trial.arm.method, trial.arm.settings) else None,
    )
    if trial.arm.method is None:
        pilot = select(store, replace(options, budget="1"), scoring, progress)
        options = replace(options, budget=str(pilot["n_eligible"]))
    try:
        selection = select(store, options, scoring, progress)
        _refuse_less_than_a_batch(store, trial, selection)
    except (MissingColumnError, MissingPackageError):
        raise
    except ConfigError as error:
        if trial.arm.method is None or trial.arm.method == RANDOM:
            raise
        return NotApplicable(str(error))
    return selection


def _refuse_less_than_a_batch(store: "Store", trial: "Trial", selection: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for examples too short to train on, before any trial is trained.

    Tokens are counted as training counts them; only where the selection's own count is near.
    """
    batch, n_tokens = trial.config.data.batch_tokens, selection["n_tokens"]
    if n_tokens is not None and n_tokens >= NEAR * batch:
        return
    config = trial.config
    resolved = resolve_model(config.model, revision=config.revision, chat=config.data.chat)
    renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length, resolved.chat)
    rows = rows_of_selection(store, str(selection["selection_id"]))
    tokens = int(prepare(rows, renderer, config.data.rendering).lengths.sum())
    if tokens < batch:
        raise ConfigError(
            f"its {selection['n_selected']:,} examples have {tokens:,} tokens, less than one batch of "
            f"{batch:,}, which is the same for every run of a budget; set --batch-tokens to {tokens} or "
            "less, or give a larger budget"
        )


def run_trial(
    store: "Store",
    trial: "Trial",
    selection: Mapping[str, Any],
    targets: Sequence["Target"],
    progress: Progress,
) -> None:
    """Train on a selection, evaluate on every target, and store the outcome.

    If it is killed, the same call resumes from the last checkpoint. The weights are not kept.
    """
    from curate.store.parts import write_parquet
    from curate.train.api import train
    from curate.train.record import save_record

    folder = store.parts / "runs" / trial.trial_id
    rows = rows_of_selection(store, str(selection["selection_id"]))
    record = train(
        trial.config, rows, folder, evaluation={t.name: t.rows for t in targets}, progress=progress
    )
    write_parquet(arrays_path(store, trial.trial_id), _table(record, targets))
    facts = {
        name: selection[name] for name in ("selection_id", "n_selected", "n_tokens", "length_ratio")
    }
    save_record(
        store, record, trial_id=trial.trial_id, method=trial.arm.label, budget=trial.budget,
        selection_id=facts["selection_id"], selection=facts, identity=dict(trial.identity),
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


def claimed(store: "Store", trial_id: str) -> AbstractContextManager[bool]:
    """Keep other processes from running a trial; False where a living one has it already.

    So the same command, started several times on one store, shares the trials.
    """
    return locks.claimed(store.parts / "runs" / f"{trial_id}.claim")


def load_result(store: "Store", trial_id: str) -> TrialResult:
    """Return a finished trial; `DataError` for one that is not in the store."""
    import pyarrow.parquet as pq

    manifest = store.trial(trial_id)
    selection = store.selection(manifest["selection_id"])
    table = pq.read_table(arrays_path(store, trial_id)).to_pydict()
    names = np.array(table["target"])
    evaluations = {}
    for name in dict.fromkeys(table["target"]):
        at = np.flatnonzero(names == name).tolist()
        correct = [table["correct"][i] for i in at]
        evaluations[name] = Measured(
            tuple(table["id"][i] for i in at),
            np.array([table["nll"][i] for i in at], dtype=np.float64),
            np.array([table["n_tokens"][i] for i in at], dtype=np.int64),
            None if None in correct else np.array(correct, dtype=bool),
        )
    return TrialResult(trial_id, selection, manifest["record"]["cost"], evaluations)


def _table(record: "TrainRecord", targets: Sequence["Target"]) -> "pa.Table":
    import pyarrow as pa

    parts = []
    for target in targets:
        evaluation = record.final(target.name)
        n = len(evaluation.ids)
        correct = [None] * n if evaluation.correct is None else evaluation.correct.tolist()
        parts.append(
            pa.table(
                {
                    "target": pa.array([target.name] * n, pa.string()),
                    "id": pa.array(list(evaluation.ids), pa.string()),
                    "nll": pa.array(evaluation.nll, pa.float64()),
                    "n_tokens": pa.array(evaluation.n_tokens, pa.int64()),
                    "correct": pa.array(correct, pa.bool_()),
                }
            )
        )
    return pa.concat_tables(parts)
