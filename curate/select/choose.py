"""Apply a selector plus what the user can add to any method: forced picks, quotas and a mix."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from jaxtyping import Int

from curate.contracts import Budget, Selection, Selector, View
from curate.contracts.budget import first_within, refuse_over
from curate.errors import BudgetError, ConfigError
from curate.select.shares import Shares

FORCED_REASON = "included by the user"
NO_SHARES = Shares({}, {})
SURPLUS: Final = 16  # picks beyond the fewest that fill a budget: at most one in so many


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
    what remains; its warnings are those of as many picks as that took. A selector whose picks depend
    on how many are asked for is asked for as few as fill the budget, since the first of more picks
    are no draw of that size; a forced pick that it did not draw has no gain.

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
        chosen = selector.select(view, None, np.random.default_rng(seed))
        return _reordered(chosen, *_with_extras(chosen, view, None, include, shares))
    if not selector.nested:
        return _of_fewest(selector, view, budget, seed, include, shares)
    ranked = rank(selector, view, seed)
    kept, forced = _kept(ranked, view, budget, include, shares)
    own = np.isin(ranked.indices, np.setdiff1d(kept, forced))
    n_asked = max(1, int(np.flatnonzero(own).max(initial=-1)) + 1)
    asked = selector.select(view, Budget(n_asked), np.random.default_rng(seed))
    return replace(_reordered(ranked, kept, forced), warnings=asked.warnings)


def _of_fewest(
    selector: Selector,
    view: View,
    budget: Budget,
    seed: int,
    include: Sequence[str],
    shares: Shares,
) -> Selection:
    """Choose of as few picks as fill the budget, where other picks come of asking for more.

    Their number is doubled until they do, and then narrowed down by bisection; each try is a draw.
    """

    def ask(n: int) -> Selection:
        return selector.select(view, Budget(n), np.random.default_rng(seed))

    def chosen_of(picks: Selection, *, is_all: bool) -> Selection | None:
        try:
            return _reordered(picks, *_kept(picks, view, budget, include, shares))
        except ConfigError:
            if is_all:
                raise
            return None

    most = len(view) - sum(ask(1).excluded.values())
    low, n = 0, min(most, _fewest(selector, view, budget, seed, include))
    chosen: Selection | None = None
    while chosen is None:
        try:
            picks = ask(n)
        except BudgetError:  # a function may have fewer than there are
            if n == 1:
                raise
            most, n = n - 1, max(1, (low + n) // 2)
            continue
        chosen = chosen_of(picks, is_all=n == most)
        if chosen is None:
            low, n = n, min(most, 2 * n)
    while low and n - low > max(1, n // SURPLUS):
        middle = (low + n) // 2
        fewer = chosen_of(ask(middle), is_all=False)
        if fewer is None:
            low = middle
        else:
            n, chosen = middle, fewer
    return chosen


def _fewest(
    selector: Selector, view: View, budget: Budget, seed: int, include: Sequence[str]
) -> int:
    """Return how many picks fill what forced ones leave of a budget, if none of them is skipped."""
    forced = _rows_of(include, view)
    limit = budget.limit(view)
    if not budget.counts_tokens:
        return max(1, limit - len(forced))
    assert view.tokens is not None
    left = limit - int(view.tokens[forced].sum())
    if left < 1:
        return 1
    try:
        rng = np.random.default_rng(seed)
        return len(selector.select(view, Budget(left, "tokens"), rng)) + 1
    except BudgetError:  # not one fits, or all of them do not fill it
        return 1


def _kept(
    ranked: Selection, view: View, budget: Budget, include: Sequence[str], shares: Shares
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " f"]]:
    """Return the rows of a ranking that fill the budget beside forced picks, and the forced picks."""
    rows, forced = _with_extras(ranked, view, budget, include, shares)
    if shares.mix:
        return rows, forced
    refuse_over(np.union1d(ranked.indices, forced), budget, view)
    return first_within(rows, budget, view), forced


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
