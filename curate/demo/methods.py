"""Which methods ``curate demo --all`` proves, with which settings, and why it skips the others."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from curate.contracts import Budget, Need, PoolScorer, Procedure, Score, Select, Selector, Train
from curate.contracts.describe import describe_fields
from curate.errors import ConfigError
from curate.prove.config import BASELINES
from curate.registry import build, get_method, get_scorer, names
from curate.scoring.requests import resolve_scorer, roles_of
from curate.testing.procedures import made_up_result

ROLES: Final = ("target", "proxy")  # whose models the demo has: one tiny language model
SETTINGS: Final[Mapping[str, str]] = {
    "s2l.n_clusters": "20", "trajectory.points": "4", "trajectory.max_tokens": "20000",
    "trajectory.batch_tokens": "1000", "trajectory.lr": "3e-4", "trajectory.template": "plain",
    "clear.consistency": "likelihood", "kmq.k": "20",
    "kmq-iterative.k": "20", "kmq-iterative.epochs": "1", "kmq-iterative.lr": "3e-4",
    "instructmining-fit.indicators": "response_tokens,mtld", "instructmining-fit.runs": "8",
    "instructmining-fit.subset": "100", "instructmining-fit.epochs": "1",
    "instructmining-fit.lr": "3e-4",
    "instructmining-search.rule": "fit", "instructmining-search.search": "grid",
    "instructmining-search.indicators": "response_tokens,mtld", "instructmining-search.runs": "8",
    "instructmining-search.subset": "100", "instructmining-search.epochs": "1",
    "instructmining-search.lr": "3e-4", "instructmining-search.trials": "4",
}  # fmt: skip
_TOO_SLOW: Final[Mapping[str, str]] = {
    "clear-correct": "it writes and judges an answer for half of the pool with every seed; run it "
    "separately: curate select --method clear-correct --set clear-correct.consistency=likelihood",
}
_MAX_STEPS: Final = 1_000


def chosen_methods() -> tuple[list[str], dict[str, str]]:
    """Return the methods that can run on the demo's pool, and the others with the reason.

    The baselines of every proof are in neither.
    """
    chosen: list[str] = []
    left_out: dict[str, str] = {}
    for name in names("method"):
        if name in BASELINES:
            continue
        reason = _TOO_SLOW.get(name) or _obstacle(name)
        if reason:
            left_out[name] = reason
        else:
            chosen.append(name)
    return chosen, left_out


def settings_for(methods: list[str]) -> dict[str, str]:
    """Return those of `SETTINGS` that some of the methods use."""
    from curate.select.run import setting_owners

    owners = {owner for name in methods for owner in setting_owners(_made(name))}
    return {key: value for key, value in SETTINGS.items() if key.partition(".")[0] in owners}


def _obstacle(name: str) -> str:
    """Say why a method cannot run here, or nothing."""
    required = [item.name for item in describe_fields(get_method(name)) if item.required]
    if required:
        return f"it requires a value for {required[0]!r}"
    try:
        made = _made(name)
        roles = dict.fromkeys(_roles(made))
    except ConfigError as error:
        return str(error)
    if made.uses_target:
        return "it selects towards a target set, and the demo has none: curate target add NAME DATA"
    waiting = list(_pool_scores(made)) if isinstance(made, Selector) else []
    if waiting:
        return f"the scores {waiting[0]!r} it reads are made from others, which must be there first"
    missing = [role for role in roles if role not in ROLES]
    if not missing:
        return ""
    flags = " ".join(f"--model-for {role}=MODEL" for role in missing)
    return f"it needs {flags}, but the demo has no such model"


def _pool_scores(method: Selector) -> Iterator[str]:
    """Yield the scorers a selector reads that see the whole pool, and other scores of it."""
    for need in method.requires().values():
        if isinstance(need, Need) and need.scorer is not None:
            made = build(get_scorer(need.scorer), need.config)
            if isinstance(made, PoolScorer) and made.requires():
                yield need.scorer


def _made(name: str) -> Selector | Procedure:
    from curate.select.run import build_method

    own = {key: value for key, value in SETTINGS.items() if key.startswith(f"{name}.")}
    return build_method(name, own)


def _roles(method: Selector | Procedure) -> Iterator[str]:
    """Yield the roles whose models a method runs; of a procedure, by going through its steps."""
    if isinstance(method, Selector):
        for need in method.requires().values():
            if isinstance(need, Need) and need.scorer is not None:
                yield from _roles_of_score(need.scorer, need.config, need.role)
        return
    from curate.select.run import build_method

    run = method.run(Budget.parse("10%"), 0)
    step = next(run)
    for _ in range(_MAX_STEPS):
        match step:
            case Score():
                yield from _roles_of_score(step.scorer, step.config, step.role)
            case Train():
                yield step.role
            case Select():
                settings = {key: str(value) for key, value in step.config.items()}
                yield from () if step.bind else _roles(build_method(step.method, settings))
        try:
            step = run.send(made_up_result(step))
        except StopIteration:
            return


def _roles_of_score(scorer: str, config: Mapping[str, Any], role: str | None) -> Iterator[str]:
    made = build(resolve_scorer(scorer, ROLES), config)
    roles = roles_of(made, {})
    yield from [role or roles[0], *roles[1:]] if roles else ()
