"""A whole proof: plan, select, train what is missing, compare."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from curate.contracts import Budget
from curate.contracts.progress import TRIALS, DedupedNotes, Progress
from curate.errors import ConfigError, InterruptedRunError
from curate.prove.config import RANDOM, ProveConfig
from curate.prove.contamination import Overlap, find_overlap
from curate.prove.plan import Plan, Trial, finished, make_plan
from curate.prove.results import Outcomes, build_document
from curate.prove.targets import Target, read_targets
from curate.prove.trials import NotApplicable, TrialResult, choose, claimed, load_result, run_trial
from curate.select.options import SelectOptions
from curate.train.config import MethodConfig
from curate.train.time_limit import stop_after

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.store import Store

POLL_S: Final = 5.0
NONE: Final = "none"
ALLOWED: Final = "allowed"
LEFT_OUT: Final = "left out"
STATEMENTS: Final = (
    """NLL rewards a matching style: a subset written like the target's references lowers it without
    teaching anything else. Read it beside exact match.""",
    """A difference is an arm minus random, paired by seed. Its standard error adds the errors over
    seeds and over evaluation examples. Verdicts use Holm's correction over all comparisons of one
    target and metric, at 5% for all of them together, and each interval has the level its verdict was
    tested at: it leaves out 0 exactly where a difference is shown. Slices are not corrected.""",
    """Every run of a budget trains on the same number of tokens, repeating examples as needed;
    full-epochs, if present, trains for as many epochs as the subsets get.""",
)


@final
@dataclass(frozen=True, slots=True)
class TargetOptions:
    """Which target sets, and what to do with examples of them that are in the pool.

    Parameters
    ----------
    data
        Files or hub ids.
    split
        Split to read, if a dataset has several.
    limit
        Maximum number of examples of each to evaluate on, evenly spaced; None for all.
    allow_overlap, drop_overlap
        Evaluate on overlapping examples anyway, or leave them out. Otherwise they are an
        error, unless they are few and share only phrases: then they are left out.
    """

    data: tuple[str, ...]
    split: str = "train"
    limit: int | None = None
    allow_overlap: bool = False
    drop_overlap: bool = False

    def __post_init__(self) -> None:
        if self.allow_overlap and self.drop_overlap:
            raise ConfigError(
                "--allow-overlap evaluates on target examples that are in the pool, and --drop-overlap leaves "
                "them out; give one of them"
            )


def prove(
    store: "Store",
    config: ProveConfig,
    wanted: TargetOptions,
    scoring: "ScoringOptions",
    progress: Progress,
    *,
    dry_run: bool = False,
    there: "Store | None" = None,
) -> dict[str, Any]:
    """Train on what each method selects and on random subsets, and say which is better.

    Finished trials are in the store and are not run again; a killed one resumes from its last
    checkpoint. Started several times at once on one store, the processes share the trials. Returns
    the document ``prove --json`` prints; with ``dry_run`` only its plan.

    Parameters
    ----------
    there
        The user's own store, where ``store`` has only data that is not read into it yet, for a plan: it has
        the target sets and the trials.

    Raises
    ------
    ConfigError
        A method, setting or budget is wrong.
    DataError
        A target cannot be read, or overlaps with the pool.
    InterruptedRunError
        When ``max_hours`` are over, or on a signal; a trial that had begun is resumed from its last checkpoint.
    """
    began = time.perf_counter()
    config.compared()  # a wrong name fails before anything is read
    config = replace(config, budgets=_budgets(store, config, scoring))
    targets, overlaps = _targets(store, config, wanted, progress)
    plan = make_plan(store, config, scoring, targets, there=there)
    progress.note(plan.text())
    about = {
        "model": scoring.models["target"],
        "n_pool": store.n_examples(config.datasets),
        "budgets": list(config.budgets),
        "seeds": config.seeds,
        "targets": overlaps,
        "plan": plan.as_dict(),
    }
    if dry_run:
        return about
    outcomes, n_trained = _run(store, config, plan, targets, scoring, progress, began)
    results = build_document(store, outcomes, targets)
    said = _same_choice(results) if config.seeds > 1 else ()
    return {
        **about,
        **results,
        "n_trained": n_trained,
        "wall_s": round(time.perf_counter() - began, 1),
        "arms": {name: dict(given) for name, given in config.arms.items()},
        "statements": [
            *(" ".join(text.split()) for text in STATEMENTS),
            *_about(config, plan),
            *_towards(store, config, targets),
            *said,
        ],
        "versions": _versions(),
    }


def _budgets(store: "Store", config: ProveConfig, scoring: "ScoringOptions") -> tuple[str, ...]:
    """Return the budgets with shares of the eligible examples as numbers, one for all methods."""
    from curate.select.budgets import in_examples

    options = SelectOptions(RANDOM, where=config.where, datasets=config.datasets)
    parsed = [Budget.parse(budget) for budget in config.budgets]
    return tuple(
        text
        if budget.unit != "eligible-share"
        else str(in_examples(store, budget, options, scoring))
        for text, budget in zip(config.budgets, parsed, strict=True)
    )


def _same_choice(results: Mapping[str, Any]) -> Iterator[str]:
    """Say which methods chose the same examples with every seed."""
    distinct: dict[str, set[int]] = {}
    for methods in results["selections"].values():
        for label, facts in methods.items():
            distinct.setdefault(label, set()).add(facts["n_distinct_selections"])
    labels = [label for label, counts in distinct.items() if counts == {1}]
    if labels:
        yield (
            f"With every seed {', '.join(labels)} chose the same examples: their seeds vary the order "
            "of training alone."
        )


def _towards(store: "Store", config: ProveConfig, targets: Sequence["Target"]) -> Iterator[str]:
    """Yield what some methods select towards, and how much of it is evaluated on."""
    if config.towards is None:
        return
    ids = store.target(config.towards).read("select id from examples")["id"].to_pylist()
    n_same = len(set(ids) & {row.id for target in targets for row in target.rows})
    yield (
        f"Methods that need a target set select towards {config.towards}: {len(ids):,} "
        f"examples, {n_same:,} of which are evaluated on too."
    )


def _about(config: ProveConfig, plan: Plan) -> Iterator[str]:
    """Yield what to know about arms that were trained differently from the rest."""
    for arm in config.compared():
        if arm.label in config.arms:
            how = ", ".join(f"{key}={value}" for key, value in arm.train.items())
            yield (
                f"{arm.label} trains on the examples of {arm.method} with "
                f"{how or 'the settings of the whole proof'}."
            )
    keeps_all = MethodConfig().policy
    if any(trial.config.method.policy != keeps_all for trial in plan.trials):
        yield (
            "An arm whose policy leaves rows out of its batches is offered as many tokens as the "
            "others and trains on fewer; the costs say on how many."
        )


def _targets(
    store: "Store", config: ProveConfig, wanted: TargetOptions, progress: Progress
) -> tuple[list[Target], list[dict[str, Any]]]:
    kept, documents = [], []
    for read in read_targets(wanted.data, split=wanted.split, limit=wanted.limit):
        target = read
        overlap = find_overlap(store, target, config.datasets)
        if not (wanted.allow_overlap or wanted.drop_overlap):
            overlap.refuse()
        what = _overlapping(overlap, wanted)
        if what == LEFT_OUT:
            target = target.without(set(overlap.ids))
        if overlap.ids:
            progress.note(f"warning: {overlap.describe()}; {what}")
        kept.append(target)
        documents.append(
            {
                "name": target.name, "data": target.data, "n_examples": len(target.rows),
                "overlap": overlap.as_dict(),
                "overlapping": what,
                "shared": [shared.as_dict() for shared in overlap.shared],
            }
        )  # fmt: skip
    return kept, documents


def _overlapping(overlap: Overlap, wanted: TargetOptions) -> str:
    if not overlap.ids:
        return NONE
    return ALLOWED if wanted.allow_overlap else LEFT_OUT


def _run(
    store: "Store",
    config: ProveConfig,
    plan: Plan,
    targets: Sequence[Target],
    scoring: "ScoringOptions",
    progress: Progress,
    began: float,
) -> tuple[Outcomes, int]:
    refusals: dict[tuple[str, str], str] = {}
    chosen: dict[str, dict[str, Any]] = {}
    once = DedupedNotes(progress)
    for trial in plan.trials:
        if trial.trial_id in plan.done or (trial.budget, trial.arm.label) in refusals:
            continue
        selection = choose(store, trial, config, scoring, once)
        if isinstance(selection, NotApplicable):
            refusals[trial.budget, trial.arm.label] = selection.reason
            progress.note(
                f"{trial.arm.label} at {trial.budget}: not applicable: {selection.reason}"
            )
        else:
            chosen[trial.trial_id] = selection
    todo = [trial for trial in plan.missing if (trial.budget, trial.arm.label) not in refusals]
    progress.start(TRIALS, len(todo), "trials")
    n_trained = 0
    for trial in _shared(store, todo, progress):
        with _in_time(n_trained, len(todo), scoring.max_hours, began):
            progress.note(
                f"trial {todo.index(trial) + 1} of {len(todo)}: {trial.arm.label} at {trial.budget}, "
                f"seed {trial.seed}"
            )
            run_trial(store, trial, chosen[trial.trial_id], targets, progress)
        n_trained += 1
    progress.finish(TRIALS)
    return _outcomes(store, config, plan, refusals), n_trained


def _shared(store: "Store", todo: Sequence[Trial], progress: Progress) -> Iterator[Trial]:
    """Yield the trials this process should run, until all are in the store.

    A trial that another process runs on the same store is waited for, and taken over if that
    process dies.
    """
    left = list(todo)
    while left:
        n_before = len(left)
        for trial in list(left):
            with claimed(store, trial.trial_id) as mine:
                if not finished(store, [trial.trial_id]):
                    if not mine:
                        continue
                    yield trial
            left.remove(trial)
            progress.advance(TRIALS, 1)
        if len(left) == n_before:
            time.sleep(POLL_S)


def _outcomes(
    store: "Store", config: ProveConfig, plan: Plan, refusals: dict[tuple[str, str], str]
) -> Outcomes:
    results: dict[tuple[str, str], list[TrialResult]] = {}
    ordered: Sequence[Trial] = sorted(plan.trials, key=lambda trial: trial.seed)
    for trial in ordered:
        key = (trial.budget, trial.arm.label)
        if key not in refusals:
            results.setdefault(key, []).append(load_result(store, trial.trial_id))
    labels = [arm.label for arm in config.compared()]
    return Outcomes(config.budgets, labels, results, refusals)


@contextmanager
def _in_time(n_done: int, total: int, max_hours: float | None, began: float) -> Iterator[None]:
    """Run the block in what is left of ``max_hours``; `InterruptedRunError` when they are over.

    Training that is interrupted saves a checkpoint first, and says where.
    """
    left = None if max_hours is None else max_hours - (time.perf_counter() - began) / 3600
    over = InterruptedRunError(
        f"stopped after {max_hours} h: {n_done} of {total} trials of this run are done and "
        "saved; rerun the same command to resume"
    )
    if left is not None and left <= 0:
        raise over
    try:
        with stop_after(left):
            yield
    except KeyboardInterrupt:
        if max_hours is not None and time.perf_counter() - began >= max_hours * 3600:
            raise over from None
        raise


def _versions() -> dict[str, str]:
    from curate.train.record import versions

    return versions()
