"""Bind what a method needs to exact score sets, computing those that are missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, final

from curate.contracts import Expression, Need, Role, RunScorer
from curate.contracts.progress import Progress
from curate.errors import ConfigError, MissingColumnError, ModelError, StoreError
from curate.registry import build, get_scorer
from curate.scoring.job import score
from curate.scoring.recorded.record import Recorded, record
from curate.scoring.requests import make_request, model_flag, roles_of, run_scorer
from curate.store.scores.names import models

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.scoring.requests import ScoreRequest
    from curate.store import ScoreSetStatus, Store


@final
@dataclass(frozen=True, slots=True)
class Bound:
    """The exact score set of every alias, the expressions, and what binding cost.

    ``named`` are the sets that only expressions read. ``n_scored`` counts examples scored on the
    way, 0 when everything was in the store.
    """

    sets: "Mapping[str, ScoreSetStatus]"
    expressions: Mapping[str, str]
    n_scored: int
    warnings: tuple[str, ...]
    named: "Mapping[str, ScoreSetStatus]" = field(default_factory=dict)

    @property
    def read(self) -> "dict[str, ScoreSetStatus]":
        """Every score set that is read, by alias, in order of alias."""
        return dict(sorted({**self.sets, **self.named}.items()))


class BindOptions(Protocol):
    """The part of a command's options that binding reads."""

    @property
    def settings(self) -> Mapping[str, str]:
        """``--set`` values; ``scorer.field`` configures a scorer, a bare field the method."""

    @property
    def bind(self) -> Mapping[str, str]:
        """Score sets fixed by alias."""

    @property
    def allow_stale(self) -> bool:
        """Whether a pool score computed before the pool grew may be used."""


def bind_needs(
    store: "Store",
    needs: Mapping[str, Need | Expression],
    options: BindOptions,
    scoring: "ScoringOptions",
    progress: Progress,
) -> Bound:
    """Find the score set of every need, scoring the missing ones in as few passes as possible.

    What needs are bound to is what `find_needs` says.
    """
    found = find_needs(store, needs, options, scoring)
    bound, requests, runs = dict(found.bound), found.requests, found.runs
    n_scored = 0
    if requests:
        report = score(store, requests, scoring, progress)
        report.raise_for_failures()
        n_scored = sum(score_set.n_scored for score_set in report.sets)
        scored = {score_set.status.set_id: score_set.status for score_set in report.sets}
        bound |= {request.alias: scored[request.key.set_id] for request in requests}
    for alias, recorded in runs.items():
        need = needs[alias]
        assert isinstance(need, Need)
        made = _record(store, recorded, alias, need.role, scoring, progress)
        bound[alias] = made.status
        n_scored += made.n_recorded
    for alias, status in bound.items():
        refuse_stale(alias, status, options.allow_stale)
    return Bound(bound, found.expressions, n_scored, ())


@final
@dataclass(frozen=True, slots=True)
class Found:
    """The score sets of some needs that are there, and what is missing: passes, and training runs."""

    bound: "Mapping[str, ScoreSetStatus]"
    expressions: Mapping[str, str]
    requests: "Sequence[ScoreRequest]"
    runs: Mapping[str, RunScorer]

    @property
    def missing(self) -> frozenset[str]:
        """The aliases that are still to be scored."""
        return frozenset({*(request.alias for request in self.requests), *self.runs})


def find_needs(
    store: "Store",
    needs: Mapping[str, Need | Expression],
    options: BindOptions,
    scoring: "ScoringOptions",
) -> Found:
    """Find the score set of every need, or how it would be scored; compute nothing.

    A need is bound to the set with exactly the key it would have if scored now. Without a model
    for its role, it is bound to the only complete set of that scorer and configuration; none or
    several are an error that says what to type. Never to "the newest of that name".
    """
    expressions = {a: need.text for a, need in needs.items() if isinstance(need, Expression)}
    scorer_needs = {a: need for a, need in needs.items() if isinstance(need, Need)}
    statuses = {status.set_id: status for status in store.score_sets()}
    bound: dict[str, ScoreSetStatus] = {}
    requests: list[ScoreRequest] = []
    runs: dict[str, RunScorer] = {}
    for alias, need in scorer_needs.items():
        if alias in options.bind:
            bound[alias] = fixed_set(alias, options.bind[alias], statuses)
            continue
        if need.scorer is None:
            bound[alias] = _by_alias(alias, statuses)
            continue
        config = {**need.config, **scorer_settings(need.scorer, options.settings)}
        recorded = run_scorer(need.scorer, config)
        if recorded is not None and (need.role or recorded.role) in scoring.models:
            runs[alias] = recorded
            continue
        if recorded is not None:
            bound[alias] = _only_candidate(alias, need, {}, statuses)
            continue
        try:
            request = make_request(store, need.scorer, alias, config, need.role, scoring)
        except ModelError as error:
            raise ModelError(f"{error}{_hint(need)}") from error
        if request is None:
            bound[alias] = _only_candidate(alias, need, config, statuses)
        elif _usable(statuses.get(request.key.set_id)):
            bound[alias] = statuses[request.key.set_id]
        else:
            requests.append(request)
    for alias, status in bound.items():
        refuse_stale(alias, status, options.allow_stale)
    return Found(bound, expressions, requests, runs)


def _record(
    store: "Store",
    scorer: RunScorer,
    alias: str,
    role: Role | None,
    scoring: "ScoringOptions",
    progress: Progress,
) -> Recorded:
    made = record(store, scorer, alias, role, scoring, progress)
    assert made is not None
    return made


def method_settings(method: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the method itself: bare fields, and those under its own name."""
    own = {key: value for key, value in settings.items() if "." not in key}
    prefix = f"{method}."
    own |= {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}
    return own


def scorer_settings(scorer: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings under a scorer's name, ``scorer.field=value``."""
    prefix = f"{scorer}."
    return {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}


def _usable(status: "ScoreSetStatus | None") -> bool:
    return status is not None and status.complete and status.content_hash is not None


def fixed_set(
    alias: str, set_id: str, statuses: "Mapping[str, ScoreSetStatus]"
) -> "ScoreSetStatus":
    """Return the score set with an id; raise `StoreError` if the store lacks it."""
    if set_id not in statuses:
        raise StoreError(
            f"score set {set_id} (alias {alias!r}) is not in this store; "
            "pass the store it was computed in with --store"
        )
    return statuses[set_id]


def _by_alias(alias: str, statuses: "Mapping[str, ScoreSetStatus]") -> "ScoreSetStatus":
    named = [s for s in statuses.values() if alias in (s.alias, *s.aliases) and s.complete]
    if len(named) == 1:
        return named[0]
    if not named:
        raise MissingColumnError(
            f"no complete score set has the alias {alias!r}; run the scorer that writes it: "
            f"curate score --scorer NAME --as {alias}"
        )
    ids = ", ".join(f"{s.set_id} ({model_name(s)})" for s in named)
    raise ConfigError(
        f"{len(named)} score sets have the alias {alias!r}: {ids}; give them other aliases"
    )


def _only_candidate(
    alias: str, need: Need, config: Mapping[str, Any], statuses: "Mapping[str, ScoreSetStatus]"
) -> "ScoreSetStatus":
    named = [s for s in statuses.values() if s.scorer == need.scorer]
    fitting = [
        s
        for s in named
        if s.complete and all(str(s.config.get(key)) == str(value) for key, value in config.items())
    ]
    if len(fitting) == 1:
        return fitting[0]
    flag = _model_flags(need, config)
    if not fitting:
        state = "is not complete for this pool" if named else "is not in the store"
        raise MissingColumnError(
            f"score {alias!r} (scorer {need.scorer}) {state}; pass {flag} to compute it here, "
            f"or run: curate score --scorer {need.scorer} {flag}{_hint(need)}"
        )
    models = ", ".join(sorted({model_name(s) for s in fitting}))
    raise ConfigError(
        f"{len(fitting)} score sets fit {alias!r} (models: {models}); say which model: {flag}"
    )


def _model_flags(need: Need, config: Mapping[str, Any]) -> str:
    """Return the flags that give every model a need runs, also for the scores it reads."""
    assert need.scorer is not None
    roles = [need.role] if need.role else roles_of(build(get_scorer(need.scorer), config), {})
    return " ".join(model_flag(role) for role in roles or ["target"])


def _hint(need: Need) -> str:
    return f"; {need.hint}" if need.hint else ""


def refuse_stale(alias: str, status: "ScoreSetStatus", allowed: bool) -> None:
    """Raise `StoreError` for a set that was computed before the pool changed, unless allowed."""
    if status.stale and not allowed:
        raise StoreError(
            f"score set {status.set_id} ({alias}) was computed before the pool changed; recompute it "
            f"with: curate score --scorer {status.scorer}; or accept it with --allow-stale"
        )


def model_name(status: "ScoreSetStatus") -> str:
    """Name the models of a score set, for messages."""
    return models(status.spec["run"])
