"""How much to keep: parsing, the limit it sets on a pool, and the prefix rule every selector obeys."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from jaxtyping import Float, Int

from curate.errors import BudgetError

if TYPE_CHECKING:
    from curate.contracts.view import View

Unit = Literal["examples", "share", "eligible-share", "tokens", "token-share"]

_MULTIPLIERS: Final = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_PATTERN: Final = re.compile(
    r"^(-?\d+(?:\.\d+)?)\s*(?:(%)\s*(tok|eligible)?|([kmg]?)(tok)?)$", re.IGNORECASE
)
_SUFFIXES: Final[Mapping[Unit, str]] = {
    "share": "%", "eligible-share": "%eligible", "token-share": "%tok",
    "examples": "", "tokens": "tok",
}  # fmt: skip
_SHARES: Final[Mapping[str, Unit]] = {
    "": "share", "eligible": "eligible-share", "tok": "token-share",
}  # fmt: skip
_DECIMALS: Final = 15  # of a share: as many as a float holds
_EXPECTED: Final = (
    "write 10% (of the pool's examples), 10%eligible (of those that can be chosen), 5000 (examples), "
    "2Mtok (tokens) or 10%tok (of the pool's tokens)"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to select, in one of five units.

    Parameters
    ----------
    amount
        Examples, tokens, or a share in (0, 1].
    unit
        ``examples``, ``tokens``, ``share`` (of the pool's examples), ``token-share`` (of the
        pool's tokens) or ``eligible-share``. The first two shares are of the whole pool, eligible or
        not, so that every method gets the same budget on the same pool; the last is of the examples
        of a view: those that satisfy ``--where`` and have every score the method reads.

    Examples
    --------
    >>> Budget.parse("10%"), Budget.parse("2Mtok")
    (Budget(amount=0.1, unit='share'), Budget(amount=2000000.0, unit='tokens'))
    """

    amount: int | float  # both written out: run-time type checks do not read int as float
    unit: Unit = "examples"

    def __post_init__(self) -> None:
        if not self.amount > 0:
            raise BudgetError(f"budget must be positive, got {self}; {_EXPECTED}")
        if self.is_share and self.amount > 1:
            raise BudgetError(f"budget {self} is more than the whole pool; use at most 100%")
        if self.unit == "examples" and self.amount != int(self.amount):
            raise BudgetError(
                f"budget of examples must be a whole number, got {self.amount!r}; {_EXPECTED}"
            )

    @classmethod
    def parse(cls, text: "str | int | Budget") -> "Budget":
        """Read ``10%``, ``10%eligible``, ``5000``, ``2Mtok`` or ``10%tok``.

        Raises `BudgetError` for anything else.
        """
        if isinstance(text, Budget):
            return text
        match = _PATTERN.match(str(text).strip())
        if match is None:
            raise BudgetError(f"cannot read budget {text!r}; {_EXPECTED}")
        number, percent, of, multiplier, tok = match.groups()
        if percent:
            return cls(round(float(number) / 100, _DECIMALS), _SHARES[(of or "").lower()])
        amount = round(float(number) * _MULTIPLIERS[(multiplier or "").lower()], 6)
        return cls(amount, "tokens" if tok else "examples")

    def __str__(self) -> str:
        number = f"{self.amount * 100:.12g}" if self.is_share else f"{self.amount:.0f}"
        return number + _SUFFIXES[self.unit]

    @property
    def is_share(self) -> bool:
        """Whether it is a share of something rather than a number."""
        return self.unit in _SHARES.values()

    @property
    def counts_tokens(self) -> bool:
        """Whether the budget is spent in tokens rather than in examples."""
        return self.unit in ("tokens", "token-share")

    def limit(self, view: "View") -> int:
        """Return the limit in this budget's own currency (examples or tokens), rounded down, at least 1.

        Raises `BudgetError` if a token budget meets a view without token counts.
        """
        if self.unit == "examples":
            return int(self.amount)
        if self.unit in ("share", "eligible-share"):
            return self.share_of(view.n_pool if self.unit == "share" else len(view))
        if view.tokens is None or view.pool_tokens is None:
            raise BudgetError(
                f"budget {self} counts tokens, but this pool has no token counts; "
                "pass --model (its tokenizer counts them), or use a budget in examples"
            )
        if self.unit == "tokens":
            return int(self.amount)
        return self.share_of(view.pool_tokens)

    def share_of(self, whole: int) -> int:
        """Return what this share of a whole comes to, rounded down, at least 1.

        Examples
        --------
        >>> Budget.parse("10%").share_of(2_500), Budget.parse("29%").share_of(10**12)
        (250, 290000000000)
        """
        return max(1, whole_part(float(self.amount), whole))


def exact_share(share: float) -> Fraction:
    """Return a share as it is written: 0.29 is 29 hundredths."""
    return Fraction(str(round(share, _DECIMALS)))


def room_of(share: float, whole: int) -> Fraction:
    """Return how much a share of a whole has room for: what it is exactly, and what its decimals leave open."""
    return exact_share(share) * whole + max(Fraction(1, 10**9), Fraction(whole, 10**_DECIMALS))


def whole_part(share: float, whole: int) -> int:
    """Return a share of a whole rounded down, whatever rounding the share has as a float.

    Examples
    --------
    >>> whole_part(0.29, 100), whole_part(0.29, 10**12), whole_part(2 / 3, 3 * 10**9)
    (29, 290000000000, 2000000000)
    """
    return math.floor(room_of(share, whole))


def keep_within(
    ranking: Int[np.ndarray, " m"], budget: Budget | None, view: "View"
) -> Int[np.ndarray, " k"]:
    """Keep the longest prefix of a ranking that the budget allows: the one prefix rule.

    Picks are kept until the next one does not fit, so that a larger budget always contains a
    smaller one. ``None`` keeps the whole ranking. O(m).

    Raises `BudgetError` when the budget asks for more than the ranking holds.
    """
    if budget is None:
        return ranking
    refuse_over(ranking, budget, view)
    return first_within(ranking, budget, view)


def first_within(
    ranking: Int[np.ndarray, " m"], budget: Budget, view: "View"
) -> Int[np.ndarray, " k"]:
    """Do as `keep_within` with a ranking that need not hold as much as the budget asks for. O(m)."""
    limit = budget.limit(view)
    if not budget.counts_tokens:
        return ranking[:limit]
    assert view.tokens is not None
    spent = np.cumsum(view.tokens[ranking], dtype=np.int64)
    kept = ranking[: int(np.searchsorted(spent, limit, side="right"))]
    if len(kept) == 0:
        first = int(spent[0])
        raise BudgetError(
            f"budget {budget} is {limit} tokens, fewer than the first pick's {first}; "
            f"give at least {first}tok"
        )
    return kept


def refuse_over(rows: Int[np.ndarray, " m"], budget: Budget, view: "View") -> None:
    """Raise `BudgetError` when a budget asks for more than some rows hold, in whatever order. O(m)."""
    limit = budget.limit(view)
    if not budget.counts_tokens:
        if limit > len(rows):
            raise _over_eligible(budget, limit, "examples", len(rows), view)
        return
    assert view.tokens is not None
    available = int(view.tokens[rows].sum(dtype=np.int64))
    if limit > available:
        raise _over_eligible(budget, limit, "tokens", available, view)


def spending(
    rows: Int[np.ndarray, " m"], budget: Budget, view: "View"
) -> tuple[Float[np.ndarray, " m"], float]:
    """Return what each of some rows spends of a budget, and how much greedy picks have to spend.

    In tokens that is one more than the budget, so that picks show where it ends. Raises
    `BudgetError` for a budget that all rows together do not fill.
    """
    refuse_over(rows, budget, view)
    limit = budget.limit(view)
    if not budget.counts_tokens or view.tokens is None:
        return np.ones(len(rows)), float(limit)
    return view.tokens[rows].astype(np.float64), limit + 1.0


def most_picks(budget: Budget, view: "View", rows: Int[np.ndarray, " n"]) -> int:
    """Return how many of some rows a ranking must hold, so that `keep_within` sees where it ends.

    As many as the budget allows, whichever they are, and for a budget of tokens one more.
    O(n log n).
    """
    limit = budget.limit(view)
    if not budget.counts_tokens:
        return min(limit, len(rows))
    assert view.tokens is not None
    cheapest = np.cumsum(np.sort(view.tokens[rows]), dtype=np.int64)
    return min(len(rows), int(np.searchsorted(cheapest, limit, side="right")) + 1)


def fit_size(
    pick: Callable[[int], Int[np.ndarray, " k"]], budget: Budget, view: "View"
) -> Int[np.ndarray, " k"]:
    """Meet any budget with a selector whose picks depend on how many are asked for.

    ``pick(n)`` returns exactly ``n`` indices. An example budget calls it once; a token budget
    bisects on ``n`` for the largest count whose picks fit, O(log n) calls.
    """
    limit = budget.limit(view)
    if not budget.counts_tokens:
        if limit > len(view):
            raise _over_eligible(budget, limit, "examples", len(view), view)
        return pick(limit)
    assert view.tokens is not None
    available = int(view.tokens.sum())
    if limit > available:
        raise _over_eligible(budget, limit, "tokens", available, view)
    low, high = 0, len(view)  # pick(low) fits, pick(high + 1) is not tried
    best = np.empty(0, dtype=np.int64)
    while low < high:
        middle = (low + high + 1) // 2
        candidate = pick(middle)
        if int(view.tokens[candidate].sum()) <= limit:
            low, best = middle, candidate
        else:
            high = middle - 1
    if len(best) == 0:
        raise BudgetError(f"budget {budget} is {limit} tokens, fewer than any single pick needs")
    return best


def _over_eligible(
    budget: Budget, limit: int, unit: str, available: int, view: "View"
) -> BudgetError:
    excluded = ", ".join(f"{count} {reason}" for reason, count in view.excluded.items())
    why = f" ({view.n_pool} in the pool; excluded: {excluded})" if excluded else ""
    suffix = "tok" if unit == "tokens" else ""
    of_those = ""
    if budget.unit == "share":
        of_those = f", or a share of the eligible ones: --budget {budget}eligible"
    return BudgetError(
        f"budget {budget} asks for {limit} {unit}, but only {available} are eligible{why}; "
        f"give at most --budget {available}{suffix}{of_those}"
    )


def value_text(value: Any) -> str:
    """Return a value of a column as a share names it; "" for a missing one.

    Examples
    --------
    >>> value_text("math"), value_text(2.0), value_text(0.5), value_text(True), value_text(None)
    ('math', '2', '0.5', 'true', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def read_share(text: str) -> float | None:
    """Read ``50%`` or ``0.5``; None for what is no share above 0 and at most 1.

    Examples
    --------
    >>> read_share("50%"), read_share("0.5"), read_share("150%"), read_share("half")
    (0.5, 0.5, None, None)
    """
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        return None
    return share if 0 < share <= 1 else None
