"""Bind the score names of expressions to exact score sets, as those of methods are bound."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from curate.contracts import PoolScorer, Role, RunScorer
from curate.contracts.settings import spell_value
from curate.errors import ConfigError, MissingColumnError
from curate.registry import get_scorer, names
from curate.scoring.requests import make_request, model_flag
from curate.select.bind import fixed_set, model_name, refuse_stale, scorer_settings
from curate.select.options import SelectOptions
from curate.store.expressions import parse
from curate.store.scores.names import of_name, with_id

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.store import ScoreSetStatus, Store


def bind_expressions(
    store: "Store",
    texts: Iterable[str],
    taken: Iterable[str],
    options: SelectOptions,
    scoring: "ScoringOptions",
) -> "dict[str, ScoreSetStatus]":
    """Return the score set of each name that expressions use as ``name.column``.

    A name is that of one complete set: the one computed with the model and the settings given here
    or, without them, the only one there is. So is a name of its own (``curate score --as NAME``),
    whatever the model given here: it was chosen to tell that set from the others. ``alias@id``, with
    the beginning of an id, means that set alone. Names in ``taken``
    are bound already; a name that no score set has is left to the expression, which says what there
    is.

    Raises
    ------
    ConfigError
        Several sets fit.
    MissingColumnError
        None was computed with the model given.
    """
    statuses = {status.set_id: status for status in store.score_sets()}
    used = _aliases(texts, statuses.values())
    bound = {}
    for alias in sorted(used - {"", *taken}):
        if alias in options.bind:
            bound[alias] = fixed_set(alias, options.bind[alias], statuses)
        elif named := _named(alias, statuses, options):
            bound[alias] = _only(store, alias, named, options, scoring)
        if alias in bound:
            refuse_stale(alias, bound[alias], options.allow_stale)
    return bound


def scorers_named(store: "Store", texts: Iterable[str]) -> list[str]:
    """Return the scorers of the score sets that expressions name."""
    statuses = store.score_sets()
    used = _aliases(texts, statuses)
    return sorted({status.scorer for alias in used for status in of_name(alias, statuses)})


def _aliases(texts: Iterable[str], statuses: "Iterable[ScoreSetStatus]") -> set[str]:
    known = {alias for status in statuses for alias in status.aliases}
    return {name.rpartition(".")[0] for text in texts for name in parse(text, known).columns}


def _named(
    alias: str, statuses: "Mapping[str, ScoreSetStatus]", options: SelectOptions
) -> "list[ScoreSetStatus]":
    named = [
        status
        for status in of_name(alias, statuses.values())
        if not status.partial
        and (status.complete or (options.datasets is not None and status.n_examples))
    ]
    return [status for status in named if not status.stale] or named


def _only(
    store: "Store",
    alias: str,
    named: "list[ScoreSetStatus]",
    options: SelectOptions,
    scoring: "ScoringOptions",
) -> "ScoreSetStatus":
    if len(named) == 1 and alias != named[0].scorer:  # a name of its own, or one with an id
        return named[0]
    wanted = {status.set_id: _keyed_settings(status.scorer, options.settings) for status in named}
    fitting = [
        status
        for status in named
        if all(str(status.config.get(k)) == str(v) for k, v in wanted[status.set_id].items())
    ]
    matches = {status.set_id: _match(store, alias, status, scoring) for status in fitting}
    fitting = [status for status in fitting if matches[status.set_id]]
    exact = [status for status in fitting if matches[status.set_id] == 2]
    fitting = exact or fitting
    if len(fitting) == 1:
        return fitting[0]
    scorer = named[0].scorer
    role = get_scorer(scorer).role if scorer in names("scorer") else None
    listed = ", ".join(
        f"{status.set_id} (model {model_name(status)})" for status in fitting or named
    )
    if not fitting:
        raise MissingColumnError(
            f"score {alias!r} was not computed with the model or the settings given here; there is "
            f"{listed}; compute it: curate score --scorer {scorer} {model_flag(role or 'target')}"
        )
    raise ConfigError(
        f"{len(fitting)} score sets have the name {alias!r}: {listed}; say which: "
        f"{' or '.join([*_ways(fitting, role), _by_id(alias, fitting)])}"
    )


def _keyed_settings(scorer: str, settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the settings of a scorer that are part of a score's key."""
    unkeyed = get_scorer(scorer).unkeyed if scorer in names("scorer") else frozenset()
    given = scorer_settings(scorer, settings)
    return {name: value for name, value in given.items() if name not in unkeyed}


def _ways(fitting: "list[ScoreSetStatus]", role: Role | None) -> list[str]:
    """Return what to type to name one of several sets: a model, or a setting they differ in."""
    models = (
        []
        if role is None or len({model_name(status) for status in fitting}) == 1
        else [model_flag(role).replace("MODEL", model_name(status)) for status in fitting]
    )
    first, *others = (status.config for status in fitting)
    differing = [k for k in first if any(config.get(k) != first[k] for config in others)]
    settings = [
        f"--set {status.scorer}.{key}={spell_value(status.config[key])}"
        for key in differing[:1]
        for status in fitting
        if key in status.config
    ]
    return [*models, *settings]


def _by_id(alias: str, fitting: "list[ScoreSetStatus]") -> str:
    names_of_own = " or ".join(f"{with_id(alias, status)}.COLUMN" for status in fitting)
    return f"write {names_of_own} in the expression"


def _match(store: "Store", alias: str, status: "ScoreSetStatus", scoring: "ScoringOptions") -> int:
    """Return 2 for a set with exactly the key it would have now, 1 for one that fits, 0 for neither.

    A set whose role has no model here fits; so does one of the same model with another template or
    data type, if no set has the exact key.
    """
    if status.scorer not in names("scorer"):
        return 1
    cls = get_scorer(status.scorer)
    if issubclass(cls, RunScorer | PoolScorer) or not scoring.models:
        return 1
    request = make_request(store, status.scorer, alias, dict(status.config), None, scoring)
    if request is None:
        return 1
    if request.key.set_id == status.set_id:
        return 2
    theirs, ours = status.spec["key"], request.spec()["key"]
    return int(all(theirs.get(name) == ours.get(name) for name in ("model", "adapter", "inputs")))
