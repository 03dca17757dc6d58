"""The plan of a dry run: what a selection would read, what it would still have to score, and do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts import Budget, Procedure, Selector, View
from curate.contracts.budget import refuse_over
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.models.load import load_tokenizer, resolve_model
from curate.models.text.render import Renderer
from curate.scoring.estimate import plan, run_plan
from curate.select.bind import Bound, Found, find_needs
from curate.select.bind_expressions import bind_expressions
from curate.select.budgets import eligible, share_note
from curate.select.procedures.foresee import PoolSize
from curate.select.run import Prepared, prepare, view_of
from curate.select.share_columns import with_share_columns
from curate.store.expressions import parse
from curate.train.data import prepare as prepare_rows
from curate.train.data import sample_rows
from curate.train.recipes import build_config

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.store import Store

SAMPLE: Final = 200  # examples whose tokens are counted for the plan of a procedure
UNKNOWN_TOKENS: Final = 250.0  # a mean for a pool whose tokens no model here can count


def plan_select(
    store: "Store",
    options: "SelectOptions",
    scoring: "ScoringOptions",
    progress: Progress,
    there: "Store | None" = None,
) -> dict[str, Any]:
    """Say which score sets a selection would use, what is missing and what that costs; compute nothing.

    Refuses what the selection itself would refuse, as far as that can be known without the scores
    that are missing: a model or score that is not there, a budget larger than what is eligible.

    Parameters
    ----------
    there
        The user's own store, where ``store`` holds only data that is not read into it yet: it has the
        target sets. Selections of it and ids name nothing of the data and are left out of the plan.
    """
    if there is not None:
        options = replace(options, within=None, include=(), exclude=())
    ready = prepare(store, options, scoring, targets=there)
    if isinstance(ready.method, Procedure):
        return _plan_procedure(store, ready.method, ready, scoring, progress)
    found = find_needs(store, ready.needs, ready.options, scoring)
    lines = [f"method {options.method}, budget {options.budget or 'its own'}"]
    lines += _eligible_lines(store, ready.method, ready, found, scoring)
    lines += [
        f"{alias}: score set {status.set_id} is complete" for alias, status in found.bound.items()
    ]
    lines += [run_plan(alias, run, scoring) for alias, run in found.runs.items()]
    document: dict[str, Any] = {"method": options.method, "budget": options.budget}
    if found.requests and store.shards():
        report = plan(store, found.requests, scoring, None, progress)
        lines += [
            f"{'+'.join(pass_plan.scorers)}: one pass over {pass_plan.examples:,} examples, "
            f"{pass_plan.tokens:,} tokens"
            + (
                f"; {counted(pass_plan.unscorable, 'example')} cannot be scored: "
                f"{', '.join(pass_plan.reasons)}"
                if pass_plan.unscorable
                else ""
            )
            for pass_plan in report.passes
        ]
        document |= report.as_dict()
    return {**document, "text": "\n".join(lines)}


def _eligible_lines(
    store: "Store", method: Selector, ready: Prepared, found: Found, scoring: "ScoringOptions"
) -> list[str]:
    """Refuse a budget that what is known to be eligible cannot fill; say what a share comes to.

    Expressions that read a score which is still missing are left out: they can only leave fewer.
    """
    view = _known_view(store, method, ready, found, scoring)
    budget = ready.budget
    if budget is None or (budget.counts_tokens and view.tokens is None):
        return []
    refuse_over(np.arange(len(view)), budget, view)
    if not _unread(ready.shares.columns, found):
        ready.shares.apply(np.arange(len(view)), view, budget)
    note = share_note(budget, view)
    return [note] if note else []


def _known_view(
    store: "Store", method: Selector, ready: Prepared, found: Found, scoring: "ScoringOptions"
) -> View:
    options, known = ready.options, _aliases_of(store)
    readable = [
        text
        for text in ready.texts
        if not {name.rpartition(".")[0] for name in parse(text, known).columns} & found.missing
    ]
    named = bind_expressions(store, readable, found.bound, options, scoring)
    bound = Bound(
        found.bound,
        {alias: text for alias, text in found.expressions.items() if text in readable},
        0,
        (),
        named,
    )
    where = options.where if options.where in readable else None
    view = view_of(store, method, bound, replace(options, where=where))
    sets = {alias: status.set_id for alias, status in bound.read.items()}
    unread = _unread(ready.shares.columns, found)
    columns = [column for column in ready.shares.columns if column not in unread]
    return with_share_columns(store, view, columns, sets, options.datasets)


def _unread(columns: Sequence[str], found: Found) -> list[str]:
    """Return the columns of quotas and mixes that belong to scores still missing."""
    return [column for column in columns if column.rpartition(".")[0] in found.missing]


def _aliases_of(store: "Store") -> set[str]:
    return {alias for status in store.score_sets() for alias in status.aliases}


def _plan_procedure(
    store: "Store",
    procedure: Procedure,
    ready: Prepared,
    scoring: "ScoringOptions",
    progress: Progress,
) -> dict[str, Any]:
    from curate.select.procedures.plan import plan_procedure

    options, budget = ready.options, ready.budget
    view = eligible(store, options, scoring)
    if budget is not None and budget.unit == "eligible-share":
        budget = Budget(budget.limit(view))
    if budget is not None and not budget.counts_tokens:
        refuse_over(np.arange(len(view)), budget, view)
    size = PoolSize(view.n_pool, len(view), _mean_tokens(store, options, scoring))
    planned = plan_procedure(store, procedure, budget, options, scoring, size, progress)
    head = f"method {options.method}, budget {options.budget or 'its own'}: {planned.pop('text')}"
    return {"method": options.method, "budget": options.budget, **planned, "text": head}


def _mean_tokens(store: "Store", options: "SelectOptions", scoring: "ScoringOptions") -> float:
    """Return the mean tokens of an example as training sees it, over a sample of the pool."""
    if "target" not in scoring.models or not store.shards(options.datasets):
        return UNKNOWN_TOKENS
    name = scoring.models["target"]
    resolved = resolve_model(name, revision=scoring.revision, chat=scoring.chat)
    config = build_config(name, dict(scoring.chat_settings), revision=scoring.revision)
    config = config.resolved(has_chat_template=resolved.chat_template_hash is not None)
    rows = sample_rows(store, options.datasets, SAMPLE)
    renderer = Renderer(load_tokenizer(resolved.path), resolved.max_length, resolved.chat)
    return float(prepare_rows(rows, renderer, config.data.rendering).lengths.mean())
