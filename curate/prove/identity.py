"""What a trial's id is a hash of besides its recipe: the pool, the model, and what decides a method's picks."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

from curate.contracts import Expression, Need, PoolScorer, Selector
from curate.errors import ConfigError
from curate.models.load import resolve_model
from curate.models.text.chat_options import ChatOptions
from curate.models.text.templates import METHOD
from curate.prove.config import RANDOM, Arm, ProveConfig
from curate.registry import build, get_scorer
from curate.scoring.requests import make_request, run_scorer
from curate.select.options import SelectOptions
from curate.store.scores.names import of_name

if TYPE_CHECKING:
    from curate.models.load import ResolvedModel
    from curate.prove.targets import Target
    from curate.scoring.options import ScoringOptions
    from curate.store import Store
    from curate.train.config import TrainConfig


def common_identity(
    store: "Store",
    config: ProveConfig,
    targets: Sequence["Target"],
    resolved: "ResolvedModel",
    base: "TrainConfig",
) -> dict[str, Any]:
    """Return what every trial of a proof has in common."""
    return {
        "pool": store.pool_hash(),
        "datasets": None if config.datasets is None else sorted(config.datasets),
        "where": config.where,
        "model": [resolved.fingerprint, resolved.tokenizer_hash, resolved.chat_template_hash],
        "targets": {target.name: target.fingerprint for target in targets},
        "evaluation": [base.watch.extractor, base.watch.max_new_tokens],
    }


def method_identity(
    store: "Store", targets: "Store", arm: Arm, scoring: "ScoringOptions", config: ProveConfig
) -> dict[str, Any]:
    """Return what decides a method's picks: its settings, its target set, and the scores it reads.

    Parameters
    ----------
    targets
        The store that has the target sets.
    """
    from curate.select.run import build_method

    texts = [config.where] if config.where else []
    if arm.method is None:
        return {
            "label": arm.label,
            **_sets_of_expressions(store, texts, {}, arm, scoring, config.datasets),
        }
    made = build_method(arm.method, arm.settings)
    identity: dict[str, Any] = {"method": made.name, "config": asdict(cast(Any, made))}
    if made.uses_target:
        if config.towards is None:
            raise ConfigError(
                f"method {arm.label!r} selects towards a target set; pass --towards NAME "
                "(see curate target list)"
            )
        identity["towards"] = targets.target(config.towards).pool_hash()
    if not isinstance(made, Selector):
        return {
            **identity,
            "models": dict(scoring.models),
            **({} if scoring.template == METHOD else {"template": scoring.template}),
            **({} if scoring.chat == ChatOptions() else {"chat": scoring.chat.identity}),
            **_sets_of_expressions(store, texts, {}, arm, scoring, config.datasets),
        }
    needs = made.requires()
    scorers = {alias: need for alias, need in needs.items() if isinstance(need, Need)}
    texts += [need.text for need in needs.values() if isinstance(need, Expression)]
    identity["scores"] = {
        alias: _need_identity(store, alias, need, arm, scoring) for alias, need in scorers.items()
    }
    read = _sets_of_expressions(store, texts, scorers, arm, scoring, config.datasets)
    return {**identity, **read}


def _sets_of_expressions(
    store: "Store",
    texts: Sequence[str],
    taken: Iterable[str],
    arm: Arm,
    scoring: "ScoringOptions",
    datasets: tuple[str, ...] | None,
) -> dict[str, Any]:
    """Return which score sets expressions read, of those whose name alone does not say it.

    A name that only one set has was never part of a trial's identity, and is not now.
    """
    from curate.select.bind_expressions import bind_expressions

    options = SelectOptions(arm.method or RANDOM, settings=arm.settings, datasets=datasets)
    read = bind_expressions(store, texts, taken, options, scoring)
    statuses = store.score_sets()
    several = {
        alias: status.set_id for alias, status in read.items() if len(of_name(alias, statuses)) > 1
    }
    return {"expressions": several} if several else {}


def _need_identity(
    store: "Store", alias: str, need: Need, arm: Arm, scoring: "ScoringOptions"
) -> Any:
    from curate.select.bind import scorer_settings

    if need.scorer is None:
        return alias
    config = {**need.config, **scorer_settings(need.scorer, arm.settings)}
    recorded = run_scorer(need.scorer, config)
    if recorded is not None:
        model = scoring.models.get(need.role or recorded.role or "proxy")
        fingerprint = None if model is None else resolve_model(model).fingerprint
        chat = [] if scoring.chat == ChatOptions() else [scoring.chat.identity]
        return [asdict(cast(Any, recorded)), fingerprint, scoring.template, *chat]
    cls = get_scorer(need.scorer)
    if issubclass(cls, PoolScorer):
        made = build(cls, config)
        own, plain = (
            [_need_identity(store, name, read, arm, how) for name, read in made.requires().items()]
            for how in (scoring, _plain(scoring))
        )
        inputs = [] if own == plain else [own]  # so that most trials keep the ids they had
        return [cls.name, cls.version, asdict(cast(Any, made)), *inputs]
    request = make_request(store, need.scorer, alias, config, need.role, scoring)
    return [need.scorer, config] if request is None else request.key.set_id


def _plain(scoring: "ScoringOptions") -> "ScoringOptions":
    """Return options with the target model alone, and conversations as its template has them."""
    target = {role: name for role, name in scoring.models.items() if role == "target"}
    return replace(
        scoring, models=target, template=METHOD, reasoning=None, template_args=None,
        chat_template=None, mask=None,
    )  # fmt: skip
