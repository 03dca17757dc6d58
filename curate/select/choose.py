"""Apply a selector plus what the user can add to any method: forced picks and quotas per source."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from curate.contracts import Budget, Selection, Selector, View, keep_within
from curate.errors import ConfigError

FORCED_REASON = "included by the user"


def choose(
    selector: Selector,
    view: View,
    budget: Budget | None,
    seed: int,
    include: Sequence[str] = (),
    quota: Mapping[str, str] | None = None,
) -> Selection:
    """Select with a method: forced picks first, and never more of a source than its quota.

    Without ``include`` and ``quota`` this is the selector's own answer. With them the selector
    ranks everything it would consider (or, without a budget, what it would keep), forced picks go
    to the front, picks beyond a quota are skipped, and the budget's prefix rule applies to what
    remains.

    Raises `BudgetError` if the budget asks for more than remains, and `ConfigError` for a method
    that needs a budget and got none.
    """
    if budget is None and not selector.budget_optional:
        raise ConfigError(
            f"method {selector.name!r} needs a budget; add --budget 10%, 5000 or 2Mtok"
        )
    if not include and not quota:
        return selector.select(view, budget, np.random.default_rng(seed))
    if budget is None:
        ranked = selector.select(view, None, np.random.default_rng(seed))
    else:
        ranked = _rank_everything(selector, view, seed)
    rows, forced = _with_extras(ranked, view, include, quota)
    return _reordered(ranked, keep_within(rows, budget, view), forced)


def rank(
    selector: Selector,
    view: View,
    seed: int,
    include: Sequence[str] = (),
    quota: Mapping[str, str] | None = None,
) -> Selection:
    """Return everything `choose` would take with any budget, best first.

    For a selector whose smaller budgets are prefixes of larger ones: see `Selector.nested`.
    """
    ranked = _rank_everything(selector, view, seed)
    if not include and not quota:
        return ranked
    rows, forced = _with_extras(ranked, view, include, quota)
    return _reordered(ranked, rows, forced)


def _with_extras(
    ranked: Selection, view: View, include: Sequence[str], quota: Mapping[str, str] | None
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " f"]]:
    """Return the rows of a ranking, forced picks in front and those beyond a quota left out."""
    forced = _rows_of(include, view)
    rest = ranked.indices[~np.isin(ranked.indices, forced)]
    rows = np.concatenate([forced, rest]).astype(np.int64)
    return _within_quotas(rows, view, quota or {}), forced


def parse_quota(quota: Mapping[str, str], n_pool: int) -> dict[str, int]:
    """Read quotas per source, ``*`` for every other source: a count, or a share of the pool."""
    limits: dict[str, int] = {}
    for source, text in quota.items():
        budget = Budget.parse(text)
        if budget.counts_tokens:
            raise ConfigError(f"quota {source}={text!r} counts tokens; give examples or a share")
        amount = budget.amount * n_pool if budget.unit == "share" else budget.amount
        limits[source] = int(amount + 1e-9)
    return limits


def _rank_everything(selector: Selector, view: View, seed: int) -> Selection:
    first = selector.select(view, Budget(1), np.random.default_rng(seed))
    n_ranked = len(view) - sum(first.excluded.values())
    return selector.select(view, Budget(n_ranked), np.random.default_rng(seed))


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


def _within_quotas(
    rows: Int[np.ndarray, " m"], view: View, quota: Mapping[str, str]
) -> Int[np.ndarray, " k"]:
    if not quota:
        return rows
    if view.sources is None:
        raise ConfigError("--quota limits sources, and this view has none")
    limits = parse_quota(quota, view.n_pool)
    unknown = sorted(set(limits) - set(view.source_names) - {"*"})
    if unknown:
        names = ", ".join(view.source_names)
        raise ConfigError(f"--quota names an unknown source {unknown[0]!r}; sources here: {names}")
    keep = np.ones(len(rows), dtype=bool)
    codes = view.sources[rows]
    for code, name in enumerate(view.source_names):
        limit = limits.get(name, limits.get("*"))
        if limit is not None:
            keep[np.flatnonzero(codes == code)[limit:]] = False
    return rows[keep]


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
