"""The plan of a dry run: what a selection would read, and what it would still have to score."""

from typing import TYPE_CHECKING, Any

from curate.contracts import Budget, Need, Selector
from curate.contracts.display import counted
from curate.contracts.progress import Progress
from curate.scoring.estimate import plan, run_plan
from curate.scoring.requests import make_request, run_scorer
from curate.select.bind import scorer_settings
from curate.select.run import build_method, needs_of, refuse_pool
from curate.select.towards import check_target

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.store import Store


def plan_select(
    store: "Store", options: "SelectOptions", scoring: "ScoringOptions", progress: Progress
) -> dict[str, Any]:
    """Say which score sets a selection would use and what is missing; compute nothing."""
    method = build_method(options.method, options.settings)
    check_target(store, method, options.target)
    if not isinstance(method, Selector):
        return {"method": options.method, "text": f"{options.method}: a procedure of several steps"}
    statuses = {status.set_id: status for status in store.score_sets()}
    lines, requests = [f"method {options.method}, budget {options.budget or 'its own'}"], []
    budget = None if options.budget is None else Budget.parse(options.budget)
    refuse_pool(store, method, budget, options)
    for alias, need in needs_of(method, scoring, budget).items():
        if not isinstance(need, Need) or need.scorer is None:
            continue
        config = {**need.config, **scorer_settings(need.scorer, options.settings)}
        recorded = run_scorer(need.scorer, config)
        if recorded is not None:
            lines.append(run_plan(alias, recorded, scoring))
            continue
        request = make_request(store, need.scorer, alias, config, need.role, scoring)
        if request is None:
            lines.append(f"{alias}: uses what is in the store; no model was given")
        elif request.key.set_id in statuses and statuses[request.key.set_id].complete:
            lines.append(f"{alias}: score set {request.key.set_id} is complete")
        else:
            requests.append(request)
    document: dict[str, Any] = {"method": options.method, "budget": options.budget}
    if requests and store.shards():
        report = plan(store, requests, scoring, None, progress)
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
