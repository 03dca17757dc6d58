"""Apply a selector plus what the user can add to any method: forced picks, quotas and a mix."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from curate.contracts import Budget, Selection, Selector, View, keep_within
from curate.errors import ConfigError
from curate.select.shares import Shares

FORCED_REASON = "included by the user"
NO_SHARES = Shares({}, {})


def choose(
    selector: Selector,
    view: View,
    budget: Budget | None,
    seed: int,
    include: Sequence[str] = (),
    shares: Shares = NO_SHARES,
) -> Selection:
    """Select with a method: forced picks first, and of each value what its quota or share allows.

    Without ``include`` and ``shares`` this is the selector's own answer. With them the selector
    ranks everything it would consider (or, without a budget, what it would keep), forced picks go
    to the front, picks beyond a quota or share are skipped, and the budget's prefix rule applies to
    what remains.

    Raises `BudgetError` if the budget asks for more than remains, and `ConfigError` for a method
    that needs a budget and got none.
    """
    if budget is None and not selector.budget_optional:
        raise ConfigError(
            f"method {selector.name!r} needs a budget; add --budget 10%, 5000 or 2Mtok"
        )
    if not include and not shares:
        return selector.select(view, budget, np.random.default_rng(seed))
    if budget is None:
        ranked = selector.select(view, None, np.random.default_rng(seed))
    else:
        ranked = rank(selector, view, seed)
    rows, forced = _with_extras(ranked, view, budget, include, shares)
    kept = rows if shares.mix else keep_within(rows, budget, view)
    return _reordered(ranked, kept, forced)


def rank(selector: Selector, view: View, seed: int) -> Selection:
    """Return everything a selector would take with any budget, best first.

    For a selector whose smaller budgets are prefixes of larger ones: see `Selector.nested`.
    """
    first = selector.select(view, Budget(1), np.random.default_rng(seed))
    n_ranked = len(view) - sum(first.excluded.values())
    return selector.select(view, Budget(n_ranked), np.random.default_rng(seed))


def with_shares(
    ranked: Selection, view: View, include: Sequence[str], shares: Shares, budget: Budget | None
) -> Selection:
    """Return what `choose` would take of a ranking by `rank` with any budget, best first.

    What quotas and a mix leave depends on the budget, and is that of ``budget``.
    """
    if not include and not shares:
        return ranked
    rows, forced = _with_extras(ranked, view, budget, include, shares)
    return _reordered(ranked, rows, forced)


def _with_extras(
    ranked: Selection,
    view: View,
    budget: Budget | None,
    include: Sequence[str],
    shares: Shares,
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " f"]]:
    """Return the rows of a ranking, forced picks in front, without those no quota or mix has room for."""
    forced = _rows_of(include, view)
    rest = ranked.indices[~np.isin(ranked.indices, forced)]
    rows = np.concatenate([forced, rest]).astype(np.int64)
    left = shares.apply(rows, view, budget)
    n_lost = int((~np.isin(forced, left)).sum())
    if n_lost:
        flag = "--mix" if shares.mix else "--quota"
        raise ConfigError(
            f"--include asks for {len(forced):,} examples, and {flag} has no room for {n_lost:,} of them; "
            f"include fewer, or allow more of their {' or '.join(shares.all_columns)}"
        )
    return left, forced


def _rows_of(include: Sequence[str], view: View) -> Int[np.ndarray, " f"]:
    wanted = np.array(list(dict.fromkeys(include)), dtype="S32")
    if len(wanted) == 0:
        return np.empty(0, dtype=np.int64)
    rows = np.searchsorted(view.ids, wanted)
    eligible = view.ids[np.minimum(rows, len(view) - 1)] == wanted
    if not eligible.all():
        first = wanted[~eligible][0].decode()
        raise ConfigError(
            f"--include: {int((~eligible).sum())} of {len(wanted)} examples are not eligible here "
            f"(first: {first}); see why with: curate explain {first}"
        )
    return rows.astype(np.int64)


def _reordered(
    ranked: Selection, rows: Int[np.ndarray, " k"], forced: Int[np.ndarray, " f"]
) -> Selection:
    by_row = np.argsort(ranked.indices, kind="stable")
    slot = np.searchsorted(ranked.indices, rows, sorter=by_row)
    at = by_row[np.minimum(slot, len(by_row) - 1)]
    known = ranked.indices[at] == rows
    is_forced = np.isin(rows, forced)
    reasons = ranked.reasons or [""] * len(ranked)
    return replace(
        ranked,
        indices=rows,
        gains=None if ranked.gains is None else np.where(known, ranked.gains[at], np.nan),
        weights=None if ranked.weights is None else np.where(known, ranked.weights[at], 1.0),
        reasons=[
            FORCED_REASON if by_user else reasons[i]
            for i, by_user in zip(at.tolist(), is_forced.tolist(), strict=True)
        ],
    )
