"""The contract of selectors."""

import pickle
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from curate.contracts import ROLES, Budget, Column, Expression, Need, Selection, Selector, View
from curate.errors import BudgetError, CurateError
from curate.registry import build, get_scorer
from curate.testing.common import check_config, name_of, require
from curate.testing.synthetic import Groups, Scores, synthetic_view

_SEED: Final = 20_240_601


def check_selector(selector: Selector, columns: Mapping[str, Column] | None = None) -> None:
    """Check every promise of a selector on made-up pools, ordinary and adversarial.

    Configuration (frozen, hashable, pickles), declared needs, and on pools with random, tied,
    constant and missing scores and with many, one and single groups: exact size in examples and in
    shares, as many as fit in tokens, no repeats, valid rows, same seed same answer, input and
    global random state untouched, gains, weights and reasons of the right length, nothing picked
    without a score, everything not eligible counted under ``excluded``, `BudgetError` beyond that,
    and, unless ``nested`` is False, smaller budgets that are the first picks of larger ones.
    About a second.

    Parameters
    ----------
    columns
        Columns by ``alias.column`` for needs without a scorer (``Need(None)``).

    Raises
    ------
    ContractError
        A promise is broken; the message says which, on which pool.
    """
    check_config(selector)
    _check_needs(selector)
    for pool, view, must_choose in _pools(selector, columns or {}):
        _Checks(selector, view, pool).run(must_choose)
    _check_token_budget_needs_tokens(selector, columns or {})


def _pools(selector: Selector, columns: Mapping[str, Column]) -> Iterator[tuple[str, View, bool]]:
    requires = selector.requires()
    plans: tuple[tuple[str, Scores, Groups, int, bool], ...] = (
        ("ordinary", "random", "mixed", 90, True),
        ("tied scores", "tied", "mixed", 60, True),
        ("constant scores", "constant", "mixed", 40, True),
        ("one group", "random", "one", 30, True),
        ("groups of one", "random", "single", 30, False),
        ("scores missing in places", "part missing", "mixed", 60, False),
        ("scores missing everywhere", "all missing", "mixed", 12, False),
        ("two rows", "random", "one", 2, False),
        ("one row", "random", "one", 1, False),
    )
    for seed, (pool, scores, groups, n, must_choose) in enumerate(plans):
        rng = np.random.default_rng(seed)
        n_target = (7, 1, 30)[seed % 3] if selector.uses_target else 0
        view = synthetic_view(requires, rng, n, scores, groups, columns, n_target=n_target)
        yield pool, view, must_choose


class _Checks:
    """The checks of one selector on one pool."""

    def __init__(self, selector: Selector, view: View, pool: str) -> None:
        self.selector, self.view = selector, view
        self.before = {name: values.copy() for name, values in view.columns.items()}
        self.where = f"selector {name_of(selector)} on the pool with {pool}"
        self.chosen: dict[Budget | None, Selection] = {}

    def run(self, must_choose: bool) -> None:
        try:
            first = self.select(Budget(1))
        except CurateError as error:
            self.require(not must_choose, f"refuses to choose one example: {error}")
            return
        n_able = len(self.view) - sum(first.excluded.values())
        self.require(
            n_able >= 1,
            f"picks an example although it counts {sum(first.excluded.values())} of "
            f"{len(self.view)} as excluded",
        )
        everything = self.check_examples(n_able)
        self.check_purity(max(1, n_able // 2))
        self.check_shares(n_able)
        self.check_tokens(everything)
        self.check_beyond(n_able)
        self.check_missing(everything)
        self.check_without_budget()

    def check_examples(self, n_able: int) -> Selection:
        everything = self.select(Budget(n_able))
        for size in sorted({1, min(2, n_able), max(1, n_able // 3), max(1, n_able - 1), n_able}):
            chosen = self.select(Budget(size))
            self.check_shape(chosen, f"budget {size}")
            self.require(len(chosen) == size, f"returns {len(chosen)} examples for budget {size}")
            self.require(
                dict(chosen.excluded) == dict(everything.excluded),
                f"excludes {dict(chosen.excluded)} for budget {size} and "
                f"{dict(everything.excluded)} for budget {n_able}; the budget must not change it",
            )
            if self.selector.nested:
                self.require(
                    np.array_equal(chosen.indices, everything.indices[:size]),
                    f"the {size} picks of budget {size} are not the first {size} of budget "
                    f"{n_able} with the same seed; rank first and cut with keep_within, or "
                    "declare nested = False",
                )
        return everything

    def check_shares(self, n_able: int) -> None:
        for wanted in sorted({1, max(1, n_able // 4), n_able}):
            budget = Budget(wanted / self.view.n_pool, "share")
            chosen = self.select(budget)
            self.require(
                len(chosen) == budget.limit(self.view),
                f"returns {len(chosen)} examples for budget {budget}, which is "
                f"{budget.limit(self.view)} of a pool of {self.view.n_pool}",
            )

    def check_tokens(self, everything: Selection) -> None:
        assert self.view.tokens is not None and self.view.pool_tokens is not None
        total = int(self.view.tokens[everything.indices].sum())
        limits = {total, total // 2, total // 3, int(self.view.tokens[everything.indices[0]])}
        for limit in sorted(limits - {0}):
            self.check_token_limit(Budget(limit, "tokens"), limit, len(everything))
            share = Budget(limit / self.view.pool_tokens, "token-share")
            self.check_token_limit(share, share.limit(self.view), len(everything))

    def check_token_limit(self, budget: Budget, limit: int, n_able: int) -> None:
        try:
            chosen = self.select(budget)
        except BudgetError:
            spent = self.spent(self.select(Budget(1)))
            self.require(spent > limit, f"refuses budget {budget}, although one pick fits")
            return
        self.check_shape(chosen, f"budget {budget}")
        self.require(
            self.spent(chosen) <= limit,
            f"spends {self.spent(chosen)} tokens of budget {budget}, which allows {limit}",
        )
        same = self.select(Budget(len(chosen)))
        self.require(
            np.array_equal(chosen.indices, same.indices),
            f"picks other examples for budget {budget} than for the {len(chosen)} it affords",
        )
        if len(chosen) < n_able:
            more = self.spent(self.select(Budget(len(chosen) + 1)))
            self.require(
                more > limit,
                f"stops at {len(chosen)} examples for budget {budget}, although one more fits",
            )

    def check_beyond(self, n_able: int) -> None:
        for budget in (Budget(n_able + 1), Budget(10 * self.view.n_pool)):
            self.require(
                self.refuses(budget),
                f"accepts budget {budget} although only {n_able} are eligible; raise BudgetError",
            )
        assert self.view.tokens is not None
        budget = Budget(int(self.view.tokens.sum()) + 1, "tokens")
        self.require(self.refuses(budget), f"accepts budget {budget}, more than the view holds")

    def check_missing(self, everything: Selection) -> None:
        scored = [_without_value(values) for values in self.view.columns.values()]
        missing = [rows for rows in scored if rows is not None]
        if missing:
            without = np.logical_and.reduce(missing)
            picked = np.flatnonzero(without[everything.indices])
            self.require(
                len(picked) == 0,
                f"picks {len(picked)} examples whose scores are all NaN, the first at row "
                f"{everything.indices[picked[:1]].tolist()}; exclude and count them, or raise",
            )

    def check_without_budget(self) -> None:
        if not self.selector.budget_optional:
            return
        try:
            chosen = self.select(None)
        except BudgetError:
            return  # another setting of the same method has a size of its own
        self.check_shape(chosen, "no budget")
        self.require(len(chosen) > 0, "picks nothing when no budget is given")

    def check_purity(self, size: int) -> None:
        state = np.random.get_state(legacy=False)
        budget = Budget(size)
        chosen, again = self.selected_anew(budget), self.selected_anew(budget)
        for name, values in self.before.items():
            self.require(
                _same_values(values, self.view.columns[name]),
                f"changes column {name!r} of its view",
            )
        other = pickle.loads(pickle.dumps(self.selector))
        copied = other.select(self.view, budget, np.random.default_rng(_SEED))
        for same in (again, copied):
            self.require(
                _equal(chosen, same), f"gives two answers for budget {size} with the same seed"
            )
        self.require(
            _same_state(state, np.random.get_state(legacy=False)),
            "uses numpy's global random state; draw from the generator it is given",
        )

    def check_shape(self, chosen: Selection, what: str) -> None:
        indices = chosen.indices
        self.require(
            isinstance(indices, np.ndarray) and indices.ndim == 1 and indices.dtype.kind in "iu",
            f"returns indices that are not a one-dimensional array of integers for {what}",
        )
        self.require(
            len(indices) == 0 or (indices.min() >= 0 and indices.max() < len(self.view)),
            f"returns rows outside 0..{len(self.view) - 1} for {what}",
        )
        self.require(len(np.unique(indices)) == len(indices), f"repeats a row for {what}")
        for name in ("gains", "weights", "reasons"):
            values = getattr(chosen, name)
            self.require(
                values is None or len(values) == len(indices),
                f"returns {0 if values is None else len(values)} {name} for {len(indices)} picks "
                f"({what})",
            )
        self.check_values(chosen, what)

    def check_values(self, chosen: Selection, what: str) -> None:
        if chosen.gains is not None:
            self.require(not np.isnan(chosen.gains).any(), f"returns NaN gains for {what}")
        if chosen.weights is not None:
            fine = bool(np.isfinite(chosen.weights).all() and (chosen.weights >= 0).all())
            self.require(fine, f"returns negative or infinite weights for {what}")
        self.require(
            all(isinstance(reason, str) and reason for reason in chosen.reasons or ()),
            f"returns a reason that is empty or not text for {what}",
        )
        self.require(
            all(isinstance(n, int) and n > 0 for n in chosen.excluded.values()),
            f"counts excluded examples as {dict(chosen.excluded)} for {what}; leave out zeros",
        )
        self.require(
            isinstance(chosen.warnings, tuple) and all(isinstance(w, str) for w in chosen.warnings),
            f"returns warnings that are not a tuple of text for {what}",
        )

    def select(self, budget: Budget | None) -> Selection:
        """Return what was selected for a budget before; whether that changes is checked by itself."""
        if budget not in self.chosen:
            self.chosen[budget] = self.selected_anew(budget)
        return self.chosen[budget]

    def selected_anew(self, budget: Budget | None) -> Selection:
        return self.selector.select(self.view, budget, np.random.default_rng(_SEED))

    def refuses(self, budget: Budget) -> bool:
        try:
            self.select(budget)
        except BudgetError:
            return True
        return False

    def spent(self, chosen: Selection) -> int:
        assert self.view.tokens is not None
        return int(self.view.tokens[chosen.indices].sum())

    def require(self, holds: bool, message: str) -> None:
        require(holds, f"{self.where}: {message}")


def _without_value(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """Return which rows of a column of floats, or of lists of floats, are NaN throughout."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    lists = values.dtype == object and len(values) > 0 and isinstance(values[0], np.ndarray)
    if lists and values[0].dtype.kind == "f":
        return np.array([bool(np.isnan(entry).all()) for entry in values])
    return None


def _same_values(values: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if values.dtype != object:
        return bool(np.array_equal(values, other, equal_nan=values.dtype.kind == "f"))
    return all(np.array_equal(a, b) or a is b for a, b in zip(values, other, strict=True))


def _check_needs(selector: Selector) -> None:
    label = f"selector {name_of(selector)}"
    requires = selector.requires()
    require(isinstance(requires, Mapping), f"{label}: requires() is not a mapping by alias")
    require(
        dict(requires) == dict(selector.requires()), f"{label}: requires() changes between calls"
    )
    for alias, need in requires.items():
        if isinstance(need, Expression):
            require(bool(need.text.strip()), f"{label}: the expression {alias!r} is empty")
            continue
        require(isinstance(need, Need), f"{label}: {alias!r} is neither a Need nor an Expression")
        require(
            need.role is None or need.role in ROLES,
            f"{label}: {alias!r} names role {need.role!r}; the roles are {', '.join(ROLES)}",
        )
        if need.scorer is not None:
            build(get_scorer(need.scorer), need.config)


def _check_token_budget_needs_tokens(selector: Selector, columns: Mapping[str, Column]) -> None:
    rng = np.random.default_rng(_SEED)
    n_target = 7 if selector.uses_target else 0
    view = synthetic_view(
        selector.requires(), rng, columns=columns, with_tokens=False, n_target=n_target
    )
    checks = _Checks(selector, view, "no token counts")
    budget = Budget(100, "tokens")
    checks.require(checks.refuses(budget), f"accepts budget {budget} without token counts")
    checks.check_shape(checks.select(Budget(2)), "budget 2")


def _equal(selection: Selection, other: Selection) -> bool:
    def same(a: Any, b: Any) -> bool:
        return (a is None and b is None) or bool(np.array_equal(np.asarray(a), np.asarray(b)))

    return (
        same(selection.indices, other.indices)
        and same(selection.gains, other.gains)
        and same(selection.weights, other.weights)
        and list(selection.reasons or ()) == list(other.reasons or ())
        and dict(selection.excluded) == dict(other.excluded)
        and selection.warnings == other.warnings
    )


def _same_state(state: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(
        state["state"]["pos"] == other["state"]["pos"]
        and np.array_equal(state["state"]["key"], other["state"]["key"])
    )
