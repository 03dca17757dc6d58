"""`curate select`: bind a method's needs to exact score sets, choose, and store why."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np

from curate.contracts import Budget, Expression, Need, Procedure, Selection, Selector, View
from curate.contracts.progress import DedupedNotes, Progress
from curate.contracts.settings import refuse_unused
from curate.data.revisions import refuse_revised
from curate.data.write.manifest import library_versions
from curate.errors import ConfigError
from curate.models.files import find_folder, folder_hash
from curate.models.text.chat_options import ChatOptions
from curate.registry import build, get_method
from curate.scoring.options import ScoringOptions
from curate.select.bind import Bound, bind_needs, method_settings
from curate.select.bind_expressions import bind_expressions, scorers_named
from curate.select.budgets import in_examples, share_note
from curate.select.choose import choose
from curate.select.marks import with_selections
from curate.select.options import SelectOptions
from curate.select.procedures.driver import run_procedure
from curate.select.procedures.execute import StepExecutor
from curate.select.record import LENGTH_ALIAS, config_of, inputs_of, length_warning, shares_of
from curate.select.share_columns import with_share_columns
from curate.select.shares import Shares
from curate.select.towards import (
    Towards,
    bind_target,
    check_target,
    overlap_warning,
    target_of_procedure,
    target_warnings,
    with_target,
)
from curate.store.records import canonical_json, digest, utc_now

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A selection whose options have passed every check that needs no scores.

    ``needs`` is what a selector reads, ``texts`` are the expressions it evaluates; a procedure has neither.
    """

    method: Selector | Procedure
    options: SelectOptions
    budget: Budget | None
    shares: Shares
    needs: Mapping[str, Need | Expression]
    texts: tuple[str, ...]


def prepare(
    store: "Store",
    options: SelectOptions,
    scoring: ScoringOptions,
    targets: "Store | None" = None,
) -> Prepared:
    """Check what can be checked before anything is scored; `select` and its dry run both do.

    ``targets`` is the store of the target sets, if not this one. Raises `ConfigError` or
    `BudgetError` for options that cannot be meant, or not of this pool.
    """
    method = build_method(options.method, options.settings)
    shares = Shares(options.quota, options.mix)
    with store.held():
        options = _with_names_resolved(store, options)
        check_target(targets or store, method, options.target)
    budget = None if options.budget is None else Budget.parse(options.budget)
    if isinstance(method, Procedure):
        if options.bind or options.include or shares:
            raise ConfigError(
                f"method {options.method!r} is a procedure; --include, --quota and --mix apply to single "
                "selectors; run it first, then use them in a second select command"
            )
        refuse_unused(options.settings, setting_owners(method))
        return Prepared(method, options, budget, shares, {}, ())
    if budget is None and not method.budget_optional:
        raise ConfigError(f"method {method.name!r} needs a budget; add --budget 10%, 5000 or 2Mtok")
    shares.check_budget(budget)
    needs = needs_of(method, scoring, budget)
    texts = [need.text for need in needs.values() if isinstance(need, Expression)]
    texts += [*([options.where] if options.where else []), *shares.columns]
    with store.held():
        refuse_unused(options.settings, [*setting_owners(method), *scorers_named(store, texts)])
        options = replace(
            options,
            include=tuple(store.resolve_ids(options.include)),
            exclude=tuple(store.resolve_ids(options.exclude)),
        )
        refuse_pool(store, method, budget, options)
    return Prepared(method, options, budget, shares, needs, tuple(texts))


def select(
    store: "Store", options: SelectOptions, scoring: ScoringOptions, progress: Progress
) -> dict[str, Any]:
    """Select with a method, first computing any scores that are missing.

    Returns the stored record: the keys of ``select --json`` and everything `reproduce` needs.
    Raises `ConfigError`, `BudgetError` or `MissingColumnError` before anything is computed, where
    possible.
    """
    began = time.perf_counter()
    ready = prepare(store, options, scoring)
    method, options = ready.method, ready.options
    if isinstance(method, Procedure):
        return _run_procedure(store, method, ready, scoring, progress, began)
    budget, shares, texts = ready.budget, ready.shares, ready.texts
    bound = bind_needs(store, ready.needs, options, scoring, progress)
    named = bind_expressions(store, texts, bound.sets, options, scoring)
    bound = replace(bound, named=named)
    view = view_of(store, method, bound, options)
    named_ids = {alias: status.set_id for alias, status in bound.read.items()}
    view = with_share_columns(store, view, shares.columns, named_ids, options.datasets)
    towards = None
    if options.target is not None:
        towards = bind_target(store, method, options.target, bound.sets, scoring, progress)
        view = with_target(store, view, towards.identity())
    note = share_note(budget, view)
    if note is not None:
        progress.note(note)
    chosen = choose(method, view, budget, options.seed, options.include, shares)
    with store.held():
        record = _record(store, method, bound, view, chosen, options, towards)
        store.save_selection(record, selection_table(view, chosen))
    for warning in record["warnings"]:
        progress.note(f"warning: {record['method']}: {warning}")
    return _report(record, began, bound.n_scored + (towards.n_scored if towards else 0))


def _with_names_resolved(store: "Store", options: SelectOptions) -> SelectOptions:
    """Return options with selections by their ids, and those to include or exclude as examples."""
    refuse_revised(store, options.include, "including it")
    within = options.within and store.selection(options.within)["selection_id"]
    return replace(
        options,
        within=within,
        include=with_selections(store, options.include),
        exclude=with_selections(store, options.exclude),
    )


def build_method(name: str, settings: Mapping[str, str]) -> Selector | Procedure:
    """Make the method ``--method`` names; ``a | b`` is the pipeline of both."""
    if "|" in name:
        return cast(Procedure, build(get_method("pipeline"), {"stages": name, **settings}))
    cls = get_method(name)  # which may have been called by an alias
    return build(cls, method_settings(cls.name, settings))


def selects_towards(method: str | None, settings: Mapping[str, str]) -> bool:
    """Whether what ``--method`` names selects towards a target set; None selects everything."""
    return method is not None and build_method(method, settings).uses_target


def _report(record: Mapping[str, Any], began: float, n_scored: int) -> dict[str, Any]:
    """Return a selection's record with the cost of this run; nothing is exported yet."""
    wall_s = round(time.perf_counter() - began, 3)
    return {**record, "output": None, "manifest": None, "wall_s": wall_s, "n_scored": n_scored}


def selection_table(view: View, chosen: Selection) -> "pa.Table":
    """Return the chosen rows as a table of id, rank (from 1), gain, weight, reason."""
    import pyarrow as pa

    n = len(chosen)
    return pa.table(
        {
            "id": pa.array(view.ids[chosen.indices]).cast(pa.string()),
            "rank": pa.array(np.arange(1, n + 1), pa.int64()),
            "gain": pa.array(
                chosen.gains if chosen.gains is not None else [None] * n, pa.float64()
            ),
            "weight": pa.array(
                chosen.weights if chosen.weights is not None else np.ones(n), pa.float64()
            ),
            "reason": pa.array(list(chosen.reasons or [""] * n), pa.string()),
        }
    )


def needs_of(
    method: Selector, scoring: ScoringOptions, budget: Budget | None
) -> dict[str, Need | Expression]:
    """Return what a method reads by alias, and the lengths where there is a tokenizer to count by."""
    needs = dict(method.requires())
    counts = budget is not None and budget.counts_tokens
    if LENGTH_ALIAS not in needs and ("target" in scoring.models or counts):
        needs[LENGTH_ALIAS] = Need("length")
    return needs


def setting_owners(method: Selector | Procedure) -> list[str]:
    """Return the names that may begin ``--set NAME.field=value``: the method's and its scorers'."""
    needs = method.requires().values() if isinstance(method, Selector) else ()
    scorers = {need.scorer for need in needs if isinstance(need, Need) and need.scorer}
    return sorted(
        {method.name, *scorers, *([LENGTH_ALIAS] if isinstance(method, Selector) else [])}
    )


def view_of(store: "Store", method: Selector, bound: Bound, options: SelectOptions) -> View:
    """Return the eligible examples with what a method reads; `ConfigError` if there are none."""
    if options.within is not None:
        refuse_revised(store, [options.within], "selecting within it")
    view = store.view(
        bind={alias: status.set_id for alias, status in bound.sets.items()},
        expressions=bound.expressions,
        named={alias: status.set_id for alias, status in bound.named.items()},
        where=options.where,
        datasets=options.datasets,
        within=options.within,
        exclude=(*options.exclude, *_ids_of(store, options.without)),
        tokens_set=bound.sets[LENGTH_ALIAS].set_id if LENGTH_ALIAS in bound.sets else None,
    )
    if len(view) == 0:
        excluded = ", ".join(f"{count} {reason}" for reason, count in view.excluded.items())
        raise ConfigError(
            f"no example is eligible for {method.name!r}: {view.n_pool} in the pool"
            + (
                f", excluded: {excluded}; relax what excludes them"
                if excluded
                else "; ingest some first: curate ingest DATA"
            )
        )
    return view


def refuse_pool(
    store: "Store", method: Selector, budget: Budget | None, options: SelectOptions
) -> None:
    """Let a method refuse a pool before anything is scored for it."""
    if type(method).refuse_pool is Selector.refuse_pool:
        return  # it looks at nothing, so there is no need to read the pool
    view = store.view(
        bind={},
        datasets=options.datasets,
        within=options.within,
        exclude=(*options.exclude, *_ids_of(store, options.without)),
    )
    method.refuse_pool(view, budget)


def _record(
    store: "Store",
    method: Selector,
    bound: Bound,
    view: View,
    chosen: Selection,
    options: SelectOptions,
    towards: Towards | None,
) -> dict[str, Any]:
    n_tokens, ratio = _tokens(view, chosen)
    excluded = dict(view.excluded)
    for reason, count in chosen.excluded.items():
        excluded[reason] = excluded.get(reason, 0) + count
    datasets = sorted(options.datasets or [d.dataset_id for d in store.datasets()])
    identity = {
        "method": method.name,
        "config": config_of(method),
        "budget": options.budget and str(Budget.parse(options.budget)),
        "seed": options.seed,
        "where": options.where,
        "include": list(options.include),
        "exclude": list(options.exclude),
        "quota": dict(options.quota),
        **shares_of(options),
        "within": options.within,
        "without": list(options.without),
        "datasets": datasets,
        "score_sets": {
            alias: {"set_id": status.set_id, "content_hash": status.content_hash}
            for alias, status in bound.read.items()
        },
        **({} if towards is None else {"target": towards.identity()}),
    }
    warnings = [*bound.warnings, *chosen.warnings, *length_warning(ratio, of_all=not view.excluded)]
    warnings += [] if towards is None else target_warnings(view, chosen, towards.name)
    counts = {
        "n_pool": view.n_pool,
        "n_eligible": view.n_pool - sum(excluded.values()),
        "n_excluded": excluded,
        "n_selected": len(chosen),
        "n_tokens": n_tokens,
    }
    return {
        "selection_id": digest(canonical_json(identity), 8),
        **identity,
        **counts,
        "counts": counts,
        "length_ratio": ratio,
        "warnings": warnings,
        "created_at": utc_now(),
        "specs": {alias: status.spec for alias, status in bound.read.items()},
        "inputs": inputs_of(store, datasets),
        "versions": library_versions(),
    }


def _tokens(view: View, chosen: Selection) -> tuple[int | None, float | None]:
    if view.tokens is None:
        return None, None
    spent = view.tokens[chosen.indices]
    mean_of_pool = float(view.tokens.mean())
    ratio = float(spent.mean()) / mean_of_pool if len(spent) and mean_of_pool else None
    return int(spent.sum()), ratio


def _ids_of(store: "Store", selections: Sequence[str]) -> list[str]:
    return [
        i
        for selection_id in selections
        for i in store.selection_rows(selection_id).column("id").to_pylist()
    ]


def _run_procedure(
    store: "Store",
    method: Procedure,
    ready: Prepared,
    scoring: ScoringOptions,
    progress: Progress,
    began: float,
) -> dict[str, Any]:
    options, budget = ready.options, ready.budget
    if budget is not None:
        budget = in_examples(store, budget, options, scoring)
    journal = store.parts / "procedures" / f"{method.name}.jsonl"
    notes = DedupedNotes(progress)

    def select_step(chosen: SelectOptions) -> Mapping[str, Any]:
        return select(store, chosen, scoring, notes)

    execute = StepExecutor(store, method, options, scoring, notes, select_step)
    outcome = run_procedure(
        method, budget, options.seed, execute, journal,
        context=_circumstances(store, options, scoring), observe=execute.observe,
    )  # fmt: skip
    record = store.selection(outcome.selection_id)
    warnings = list(dict.fromkeys([*record["warnings"], *outcome.warnings]))
    made_by = record.get("made_by", record["method"])
    if execute.models:
        record["procedure"] = execute.cost()
    if execute.models and options.target is not None and "target" not in record:
        towards = target_of_procedure(store, outcome.selection_id, options.target)
        record["procedure"]["target"] = towards
        said = overlap_warning(towards["n_selected"], options.target)
        warnings = list(dict.fromkeys([*warnings, *said]))  # a replayed run has it on record
    record |= {"method": options.method, "made_by": made_by, "warnings": warnings}
    for warning in warnings:
        notes.note(f"warning: {options.method}: {warning}")
    if execute.models or outcome.warnings:
        store.save_selection(record, store.selection_rows(outcome.selection_id))
        execute.forget_models()
    return _report(record, began, 0)


def _circumstances(
    store: "Store", options: SelectOptions, scoring: ScoringOptions
) -> dict[str, Any]:
    """Return what else determines a procedure's results: the pool, its limits, the models."""
    models = {}
    for role, name in scoring.models.items():
        folder, commit = find_folder(name, scoring.revision if role == "target" else None)
        models[role] = commit or folder_hash(folder)
    if scoring.adapter is not None:
        models["adapter"] = folder_hash(find_folder(scoring.adapter, None)[0])
    return {
        "pool": store.pool_hash(),
        **({} if options.target is None else {"target": store.target(options.target).pool_hash()}),
        "limits": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(options).items()
            if name in ("where", "exclude", "datasets", "within", "without", "allow_stale")
        },
        "models": models,
        "template": scoring.template,
        "dtype": scoring.dtype,
        **({} if scoring.chat == ChatOptions() else {"chat": scoring.chat.identity}),
    }
