"""Scorers that read other scores: which score sets they read, and in which order to compute them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from curate.contracts import DerivedScorer, Need, PoolScorer, Scorer
from curate.errors import ConfigError, MissingColumnError

if TYPE_CHECKING:
    from curate.scoring.job import ScoringOptions
    from curate.scoring.plan import ScoreRequest
    from curate.store import ScoreSetStatus, Store


def derived_request(
    store: "Store", scorer: DerivedScorer, alias: str, options: "ScoringOptions"
) -> "ScoreRequest | None":
    """Make the request for a derived scorer, with those for what it reads.

    A score set it reads whose role has no model here is bound to the only complete one of that
    scorer and configuration in the store. None if there is not exactly one, or if the scorer itself
    runs a model that is not given.
    """
    from curate.scoring.job import make_request
    from curate.scoring.plan import request_for

    if scorer.role is not None and scorer.role not in options.models:
        return None
    model = None if scorer.role is None else options.models[scorer.role]
    bound: dict[str, str] = {}
    specs: dict[str, Any] = {}
    wanted: list[ScoreRequest] = []
    for name, need in scorer.requires().items():
        assert need.scorer is not None
        request = make_request(store, need.scorer, need.scorer, need.config, need.role, options)
        if request is None:
            stored = _stored(store, need)
            if stored is None:
                return None
            bound[name], specs[name] = stored.set_id, stored.spec
            continue
        if isinstance(request.scorer, PoolScorer):
            raise ConfigError(
                f"scorer {scorer.name!r} reads {need.scorer!r}, which sees the whole pool; a derived "
                "scorer reads scores of one example at a time"
            )
        bound[name], specs[name] = request.key.set_id, request.spec()
        wanted.append(request)
    made = request_for(scorer, alias, model, options_for(scorer.role, options), inputs=bound)
    return replace(made, inputs=tuple(wanted), input_specs=specs)


def pool_inputs(store: "Store", scorer: PoolScorer, options: "ScoringOptions") -> dict[str, str]:
    """Return the exact sets a pool scorer reads, and the hash of the pool it sees."""
    from curate.scoring.job import make_request
    from curate.store.records import POOL_INPUT

    statuses = {status.set_id: status for status in store.score_sets()}
    inputs = {POOL_INPUT: store.pool_hash()}
    for alias, need in scorer.requires().items():
        assert need.scorer is not None
        request = make_request(store, need.scorer, alias, need.config, need.role, options)
        named = [s for s in statuses.values() if alias in (s.alias, *s.aliases) and s.complete]
        if request is not None and request.key.set_id in statuses:
            inputs[alias] = request.key.set_id
        elif request is None and len(named) == 1:
            inputs[alias] = named[0].set_id
        else:
            raise MissingColumnError(
                f"scorer {scorer.name!r} reads {alias!r}, which is "
                + ("not" if len(named) == 0 or request is not None else "more than once")
                + f" in the store; compute it first: curate score --scorer {need.scorer}"
            )
    return inputs


def with_inputs(requests: Sequence["ScoreRequest"]) -> list["ScoreRequest"]:
    """Return the requests followed by what they read, each score set once."""
    found: dict[tuple[str, str], ScoreRequest] = {(r.key.set_id, r.alias): r for r in requests}
    asked = {r.key.set_id for r in requests}
    waiting = [one for request in requests for one in request.inputs]
    while waiting:
        one = waiting.pop(0)
        waiting += one.inputs
        if one.key.set_id not in asked:
            asked.add(one.key.set_id)
            found[one.key.set_id, one.alias] = one
    return list(found.values())


def in_waves(requests: Sequence["ScoreRequest"]) -> list[list["ScoreRequest"]]:
    """Group requests so that everything a request reads is in an earlier group."""
    waves: dict[int, list[ScoreRequest]] = {}
    for request in requests:
        waves.setdefault(_depth(request), []).append(request)
    return [waves[depth] for depth in sorted(waves)]


def options_for(role: str | None, options: "ScoringOptions") -> "ScoringOptions":
    """Return the options for a role's model: adapter and revision belong to the target, if there is one."""
    if role == "target" or "target" not in options.models:
        return options
    return replace(options, adapter=None, revision=None)


def missing_roles(scorer: Scorer, options: "ScoringOptions") -> list[str]:
    """Return the roles, in order, that a scorer and what it reads need but that have no model here."""
    return [role for role in roles_of(scorer, options.models) if role not in options.models]


def roles_of(scorer: Scorer, models: Mapping[str, str]) -> list[str]:
    """Return the roles whose models a scorer and everything it reads run, each once, in order."""
    return list(dict.fromkeys(_roles(scorer, None, models)))


def _roles(scorer: Scorer, role: str | None, models: Mapping[str, str]) -> Iterator[str]:
    from curate.registry import build
    from curate.scoring.plan import resolve_scorer

    own = (role if scorer.role == "target" else None) or scorer.role
    if own is not None:
        yield own
    if isinstance(scorer, DerivedScorer):
        for need in scorer.requires().values():
            assert need.scorer is not None
            read = build(resolve_scorer(need.scorer, models), need.config)
            yield from _roles(read, need.role, models)


def _stored(store: "Store", need: Need) -> "ScoreSetStatus | None":
    fitting = [
        status
        for status in store.score_sets()
        if status.scorer == need.scorer
        and status.complete
        and all(status.config.get(key) == value for key, value in need.config.items())
    ]
    return fitting[0] if len(fitting) == 1 else None


def _depth(request: "ScoreRequest") -> int:
    return 1 + max((_depth(one) for one in request.inputs), default=-1)
