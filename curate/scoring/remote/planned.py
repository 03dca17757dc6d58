"""The requests of a published plan, made on a machine without the store; nothing is taken on trust."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import curate
from curate.contracts import Scorer
from curate.contracts.settings import settings_of
from curate.errors import ConfigError, ModelError
from curate.models.load import ResolvedModel
from curate.registry import build, get_scorer
from curate.scoring.backends import with_room
from curate.scoring.keys import files_of, score_key
from curate.scoring.options import ScoringOptions
from curate.scoring.remote.document import PlanDocument, PlannedModel, PlannedSet
from curate.scoring.remote.places import DATA
from curate.scoring.requests import ScoreRequest, model_flag, resolve_for
from curate.scoring.scope import Scope
from curate.store.records import FILE_INPUT, ScoreKey, canonical_json

NOT_ASKED: Final[tuple[Any, ...]] = (None, "auto", "method", [], {}, False)


def refuse_other_command(plan: PlanDocument, asked: Mapping[str, Any], url: str) -> None:
    """Raise `ConfigError` for an option that decides numbers and differs from the published command's."""
    for name, value in asked.items():
        planned = plan.asked.get(name)
        if value in NOT_ASKED or canonical_json(value) == canonical_json(planned):
            continue
        flag = "--" + {"scorers": "scorer", "alias": "as", "settings": "set"}.get(name, name)
        was = "not given" if planned in NOT_ASKED else f"{planned!r}"
        raise ConfigError(
            f"{flag.replace('_', '-')} is {value!r} here, but {was} in the plan at {url}; a slice scores as the "
            "plan says: type the command it was published with"
        )


def requests_of(
    plan: PlanDocument, options: ScoringOptions, scopes: Path
) -> dict[str, ScoreRequest]:
    """Return the requests of a plan by the id of their score set, each verified against its key.

    ``options`` may say where models and an adapter lie on this machine. ``scopes`` is the folder of
    the ids to score. Raises `ModelError` for a model that is not here or is another one, and
    `ConfigError` for a scorer that is unknown here or of another version.
    """
    made: dict[str, ScoreRequest] = {}
    waiting = list(plan.sets)
    known = {planned.key.set_id for planned in plan.sets}
    while waiting:
        planned = waiting.pop(0)
        inputs = [set_id for set_id, _ in planned.reads.values() if set_id in known]
        if any(set_id not in made for set_id in inputs):
            waiting.append(planned)
            continue
        request = _request(plan, planned, options, scopes)
        made[request.key.set_id] = replace(request, inputs=tuple(made[i] for i in inputs))
    return {planned.key.set_id: made[planned.key.set_id] for planned in plan.sets}


def _request(
    plan: PlanDocument, planned: PlannedSet, options: ScoringOptions, scopes: Path
) -> ScoreRequest:
    scorer = _scorer(planned)
    backend = planned.key.backend
    model = None if planned.model is None else _model(scorer, planned.model, options)
    model = model and with_room(model, backend)
    read = {a: i for a, i in planned.key.inputs.items() if not a.startswith(FILE_INPUT)}
    inputs = {**read, **files_of(scorer)}
    key = score_key(scorer, model, planned.dtype, inputs, planned.served_chat, backend)
    _refuse_other_key(planned, key)
    scope = None
    if planned.scope is not None:
        of_plan = plan.scopes[planned.scope]
        path = scopes / f"{planned.scope}{DATA}"
        scope = Scope(of_plan.selection, path, planned.scope, of_plan.counts)
    return ScoreRequest(
        planned.alias, scorer, key, model, planned.dtype, planned.batch_tokens,
        planned.paper_template, scope=scope, served_chat=planned.served_chat,
        alone_tokens=planned.alone_tokens, share_prefixes=planned.share_prefixes, row_block=planned.row_block,
    )  # fmt: skip


def _scorer(planned: PlannedSet) -> Scorer:
    cls = get_scorer(planned.key.scorer)
    if cls.version != planned.key.version:
        raise ConfigError(
            f"scorer {cls.name!r} has version {cls.version} in curate {curate.__version__} here, but the plan is "
            f"for version {planned.key.version}; install the same version of curate on every machine"
        )
    return build(cls, settings_of(planned.settings))


def _model(scorer: Scorer, planned: PlannedModel, options: ScoringOptions) -> ResolvedModel:
    name = options.models.get(planned.role, planned.name)
    flag = model_flag(planned.role).replace("MODEL", "FOLDER")
    adapter = (options.adapter or planned.adapter) if planned.adapter else None
    try:
        model = resolve_for(scorer, name, planned.chat, revision=planned.revision, adapter=adapter)
    except ModelError as error:
        raise ModelError(
            f"the plan scores with the model {planned.name!r}, which cannot be used on this machine: "
            f"{error}; copy that model here, and where it lies elsewhere add {flag}"
        ) from error
    if model.fingerprint != planned.fingerprint:
        raise ModelError(
            f"the model at {name!r} on this machine is not the one of the plan: its files hash to "
            f"{model.fingerprint}, those of {planned.name!r} to {planned.fingerprint}; copy that model here, "
            f"and where it lies elsewhere add {flag}"
        )
    return model


def _refuse_other_key(planned: PlannedSet, key: ScoreKey) -> None:
    if key.set_id == planned.key.set_id:
        return
    differing = [
        name
        for name in ScoreKey.__slots__
        if canonical_json(getattr(key, name)) != canonical_json(getattr(planned.key, name))
    ]
    raise ConfigError(
        f"{planned.alias} would not be the score set of the plan here: its {' and '.join(differing)} "
        f"{'differs' if len(differing) == 1 else 'differ'}; use the same model, tokenizer, files and version of curate "
        "as the machine with the store"
    )
