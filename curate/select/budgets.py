"""What a budget given as a share comes to: of the whole pool, or of the examples that can be chosen."""

from dataclasses import replace
from typing import TYPE_CHECKING

from curate.contracts import Budget, View
from curate.select.bind_expressions import bind_expressions

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.select.options import SelectOptions
    from curate.store import Store

WITHIN = "not in selection"  # why a view leaves out what an earlier selection does not hold


def share_note(budget: Budget | None, view: View) -> str | None:
    """Say what a share of the whole pool comes to where the method does not see all of it; else None.

    It sees what filters leave and has every score; ``n_eligible`` of the result is without what the method
    itself leaves out, too.

    Examples
    --------
    >>> import numpy as np
    >>> share_note(Budget.parse("10%"), View(np.arange(4).astype("S1"), n_pool=40, excluded={"where": 36}))
    'budget 10% of the pool = 4 of 40 examples; 4 are left to the method (10%eligible = 1)'
    """
    if budget is None or budget.unit not in ("share", "token-share"):
        return None
    if not set(view.excluded) - {WITHIN}:
        return None
    limit = budget.limit(view)
    if budget.unit == "token-share":
        assert view.tokens is not None
        return (
            f"budget {budget} of the pool = {limit:,} of {view.pool_tokens:,} tokens; "
            f"{int(view.tokens.sum()):,} are left to the method"
        )
    eligible = replace(budget, unit="eligible-share")
    return (
        f"budget {budget} of the pool = {limit:,} of {view.n_pool:,} examples; {len(view):,} are "
        f"left to the method ({eligible} = {eligible.limit(view):,})"
    )


def in_examples(
    store: "Store",
    budget: Budget,
    options: "SelectOptions",
    scoring: "ScoringOptions",
) -> Budget:
    """Return a share of the eligible examples as a number of them, and any other budget as it is.

    For procedures and proofs, whose parts have different scores and must have one budget.
    """
    if budget.unit != "eligible-share":
        return budget
    return Budget(budget.limit(eligible(store, options, scoring)))


def eligible(store: "Store", options: "SelectOptions", scoring: "ScoringOptions") -> View:
    """Return the examples that ``where``, ``within``, ``exclude`` and ``datasets`` leave, without scores."""
    texts = [options.where] if options.where else []
    named = bind_expressions(store, texts, (), options, scoring)
    return store.view(
        bind={},
        named={alias: status.set_id for alias, status in named.items()},
        where=options.where,
        datasets=options.datasets,
        within=options.within,
        exclude=options.exclude,
    )
