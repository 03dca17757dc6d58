"""Run scorers: train the model of their role once, record, and reuse the recording for free."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import Role, RunRecipe, RunScorer
from curate.contracts.progress import Progress
from curate.errors import ConfigError, DataError
from curate.models.load import resolve_model
from curate.models.text.masks import TRL
from curate.scoring.requests import with_template
from curate.store.records import canonical_json, digest
from curate.train.data import rows_of_pool
from curate.train.recipes import config_of

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel
    from curate.scoring.options import ScoringOptions
    from curate.store import ScoreSetStatus, Store
    from curate.train.config import TrainConfig
    from curate.train.data import TrainRow

SAVE_EVERY: Final = 50
METHOD: Final = "trajectory"
_SHARE: Final = 2  # first word of a seed, besides those of `curate.train.steps.stream`


@final
@dataclass(frozen=True, slots=True)
class Recorded:
    """A score set of a run scorer; ``n_recorded`` examples were measured now; 0 if it was already stored."""

    status: "ScoreSetStatus"
    n_recorded: int


def record(
    store: "Store",
    scorer: RunScorer,
    alias: str,
    role: Role | None,
    options: "ScoringOptions",
    progress: Progress,
) -> Recorded | None:
    """Make sure the recording of a run scorer is in the store; None without a model for its role.

    Trains the model on the pool, or a share of it, and measures the whole pool on the way. A
    killed run resumes from its last checkpoint. The weights are not kept; the cost of the run is in
    the relation ``trials``.

    Raises
    ------
    ConfigError
        The pool is empty, or the recipe does not fit it.
    ModelError
        The model cannot be used; nothing is substituted.
    """
    wanted = role or scorer.role or "proxy"
    if wanted not in options.models:
        return None
    if store.n_examples() == 0:
        raise ConfigError("the pool is empty; ingest some examples first: curate ingest DATA")
    made, _ = with_template(scorer, options.template)
    assert isinstance(made, RunScorer)
    if options.from_checkpoints is not None:
        return _from_checkpoints(store, scorer, alias, options.models[wanted], options, progress)
    recipe = made.recipe()
    resolved = resolve_model(options.models[wanted], chat=options.chat)
    config = _config(recipe, resolved, made.template, options)
    run = _run_id(store, recipe, made.template, resolved, config)
    known = _stored(store, run)
    if known is not None:
        return Recorded(known, 0)
    progress.note(
        f"{alias}: training {resolved.name} and measuring the pool at {recipe.points} points"
    )
    try:
        _train(store, recipe, config, alias, run, progress)
    except ConfigError as error:
        raise ConfigError(
            f"cannot record {alias!r}: {error}; set its recipe with --set {scorer.name}.FIELD=VALUE"
        ) from error
    status = _stored(store, run)
    assert status is not None
    return Recorded(status, status.n_examples)


def check_from_checkpoints(scorers: Sequence[str], options: "ScoringOptions") -> None:
    """Raise `ConfigError` where checkpoints are given and something else is to be scored."""
    if options.from_checkpoints is not None and list(scorers) != [METHOD]:
        raise ConfigError(
            f"--from-checkpoints measures a {METHOD} and nothing else, got --scorer "
            f"{','.join(scorers)}; type: curate score --scorer {METHOD} "
            f"--from-checkpoints {options.from_checkpoints} --model-for proxy=MODEL"
        )


def run_costs(store: "Store", set_id: str) -> dict[str, Any] | None:
    """Return the cost of the run a trajectory was recorded in, as `TrainRecord.cost`, or None."""
    trials = store.read("select trial_id, manifest from trials").to_pylist()
    for row in trials:
        if set_id in row["manifest"]:
            manifest = store.trial(row["trial_id"])
            if manifest["record"]["outcome"].get("trajectory") == set_id:
                return dict(manifest["record"]["cost"])
    return None


def _from_checkpoints(
    store: "Store",
    scorer: RunScorer,
    alias: str,
    model: str,
    options: "ScoringOptions",
    progress: Progress,
) -> Recorded:
    from curate.scoring.recorded.from_checkpoints import (
        checkpoints_below,
        config_of_checkpoints,
        trajectory_of_checkpoints,
    )

    assert options.from_checkpoints is not None
    folder = Path(options.from_checkpoints)
    checkpoints = checkpoints_below(folder)
    config = config_of_checkpoints(scorer, folder, model, options)
    complete = {status.set_id for status in store.score_sets() if status.complete}
    set_id = trajectory_of_checkpoints(store, checkpoints, config, alias=alias, progress=progress)
    [status] = [status for status in store.score_sets() if status.set_id == set_id]
    return Recorded(status, 0 if set_id in complete else status.n_examples)


def _config(
    recipe: RunRecipe, resolved: "ResolvedModel", template: str, options: "ScoringOptions"
) -> "TrainConfig":
    config = config_of(
        recipe,
        resolved.name,
        TRL if options.template == TRL else template,
        {
            **options.chat_settings,
            "compute.device": options.device,
            "compute.dtype": options.dtype,
        },
    )
    return config.resolved(has_chat_template=resolved.chat_template_hash is not None)


def _run_id(
    store: "Store",
    recipe: RunRecipe,
    template: str,
    resolved: "ResolvedModel",
    config: "TrainConfig",
) -> str:
    identity: Mapping[str, Any] = {
        "recipe": asdict(recipe),
        "settings": config.identity(),
        "model": resolved.fingerprint,
        "tokenizer": resolved.tokenizer_hash,
        "template": [template, resolved.chat_template_hash if template == "chat" else None],
        "pool": store.pool_hash(),
    }
    return digest(canonical_json(identity), 8)


def _stored(store: "Store", run: str) -> "ScoreSetStatus | None":
    """Return the complete score set a finished run left, or None."""
    try:
        outcome = store.trial(run)["record"]["outcome"]
    except DataError:
        return None
    matching = [s for s in store.score_sets() if s.set_id == outcome["trajectory"]]
    return matching[0] if matching and matching[0].complete and not matching[0].stale else None


def _train(
    store: "Store",
    recipe: RunRecipe,
    config: "TrainConfig",
    alias: str,
    run: str,
    progress: Progress,
) -> None:
    from curate.scoring.recorded.train_log import TrainLogRecorder
    from curate.scoring.recorded.trajectories import TrajectoryRecorder
    from curate.train.api import train
    from curate.train.record import save_record

    recorder = (
        TrajectoryRecorder(store, recipe.points, alias=alias)
        if recipe.source == "run"
        else TrainLogRecorder(store, alias=alias)
    )
    rows = _share(rows_of_pool(store), recipe)
    config = replace(config, watch=replace(config.watch, save_every=SAVE_EVERY))
    folder = store.parts / "runs" / run
    done = train(config, rows, folder, recorder=recorder, progress=progress)
    save_record(store, done, trial_id=run, method=METHOD)
    shutil.rmtree(folder, ignore_errors=True)


def _share(rows: "list[TrainRow]", recipe: RunRecipe) -> "list[TrainRow]":
    if recipe.share == 1:
        return rows
    ordered = sorted(rows, key=lambda row: row.id)
    n = max(1, round(recipe.share * len(ordered)))
    drawn = np.random.default_rng([recipe.seed, _SHARE]).permutation(len(ordered))[:n]
    return [ordered[place] for place in drawn.tolist()]
