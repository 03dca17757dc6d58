"""Shares of a selection by source, or by the values of a column: at most (quotas), or exactly (a mix).

A key is the name of a source, ``COLUMN:VALUE`` (``row.category:math``), or ``*`` (or ``COLUMN:*``): in a
quota each other value, a missing one included, in a mix all others together, those without a value left out. Shares are of the selection, in what its budget counts: examples or tokens.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.contracts import Budget, View
from curate.contracts.budget import exact_share, read_share, room_of, value_text
from curate.errors import BudgetError, ConfigError, did_you_mean

SOURCE: Final = "source"
OTHERS: Final = "*"
_COLUMN: Final = re.compile(r"(source|[^\W\d][\w-]*\.[^:]+):(.*)", re.DOTALL)
_LISTED: Final = 20
_EVEN: Final = 1e-6  # by how much shares typed as decimals may miss 100%

Rows = Int[np.ndarray, " m"]


@final
@dataclass(frozen=True, slots=True)
class Shares:
    """What a user wants of each value: ``quota`` at most, ``mix`` exactly; at most one of them.

    Raises
    ------
    ConfigError
        A quota or share cannot be read, the shares of a mix do not add up to 100%, or both are given.
    """

    quota: Mapping[str, str]
    mix: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.quota and self.mix:
            raise ConfigError(
                "--quota (at most so many) and --mix (exactly so many) are both given; give one of them"
            )
        parse_quota(self.quota)
        parse_mix(self.mix)

    def __bool__(self) -> bool:
        return bool(self.quota or self.mix)

    @property
    def all_columns(self) -> tuple[str, ...]:
        """The columns they are of, each once, ``source`` among them."""
        return tuple(dict.fromkeys(part_of(key)[0] for key in (*self.quota, *self.mix)))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns they read, besides the source."""
        return tuple(column for column in self.all_columns if column != SOURCE)

    @property
    def depend_on_size(self) -> bool:
        """Whether a quota is a share of the selection, however large that becomes."""
        limits = chain.from_iterable(
            by_value.values() for by_value in parse_quota(self.quota).values()
        )
        return any(limit.is_share for limit in limits)

    def check_budget(self, budget: Budget | None) -> None:
        """Raise `ConfigError` for a mix without a budget: exact shares are of some size."""
        if self.mix and budget is None:
            raise ConfigError("--mix gives shares of a budget; add --budget 10%, 5000 or 2Mtok")

    def apply(self, rows: Rows, view: View, budget: Budget | None) -> Rows:
        """Return the rows of a ranking that the quotas or the mix leave, in order.

        Raises
        ------
        ConfigError
            A key names a value that no example of the view has.
        BudgetError
            They leave fewer than the budget asks for.
        """
        if self.mix:
            self.check_budget(budget)
            assert budget is not None
            return _mixed(rows, view, self.mix, budget)
        return _within_quotas(rows, view, self.quota, budget) if self.quota else rows


def part_of(key: str) -> tuple[str, str]:
    """Return the column and the value that a key names.

    Examples
    --------
    >>> part_of("dolly"), part_of("row.category:math"), part_of("org/name:main")
    (('source', 'dolly'), ('row.category', 'math'), ('source', 'org/name:main'))
    """
    match = _COLUMN.fullmatch(key)
    return (match[1].strip(), match[2].strip()) if match else (SOURCE, key)


def parse_quota(quota: Mapping[str, str]) -> dict[str, dict[str, Budget]]:
    """Read quotas by column and value: a count, or a share of the selection."""
    read: dict[str, dict[str, Budget]] = {}
    for key, text in quota.items():
        limit = Budget.parse(text)
        if limit.unit not in ("examples", "share"):
            raise ConfigError(
                f"quota {key}={text!r} is neither a number of examples nor a share of the selection; "
                "give 500 or 30%"
            )
        column, value = part_of(key)
        read.setdefault(column, {})[value] = limit
    return read


def parse_mix(mix: Mapping[str, str]) -> dict[str, float]:
    """Read the shares of a mix by key; they add up to 1."""
    shares = {}
    for key, text in mix.items():
        share = read_share(text)
        if share is None:
            raise ConfigError(f"cannot read the share {text!r} of {key!r}; write --mix {key}=50%")
        shares[key] = share
    total = math.fsum(shares.values())
    if mix and abs(total - 1) > _EVEN:
        listed = ",".join(f"{key}={text}" for key, text in mix.items())
        raise ConfigError(
            f"the shares of --mix {listed} add up to {total * 100:.6g}%; they are all of the selection, so "
            "make them add up to 100%"
        )
    columns = list(dict.fromkeys(part_of(key)[0] for key in mix))
    if len(columns) > 1:
        raise ConfigError(
            f"--mix gives shares of {' and of '.join(columns)}; give all of one of them"
        )
    return shares


def largest_remainder(shares: Sequence[float], total: int) -> list[int]:
    """Divide a total into whole numbers as nearly in the given shares as possible.

    Each gets its share rounded down; what is left goes to the largest remainders, the earlier share
    first where they are equal.

    Examples
    --------
    >>> largest_remainder([0.5, 0.3, 0.2], 101)
    [51, 30, 20]
    """
    exact = [round(exact_share(share) * total, 9) for share in shares]
    whole = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def value_of(view: View, column: str, row: int) -> str:
    """Return the value of a column of a view, or its source, as keys name it."""
    codes, names = _codes(view, column)
    return names[int(codes[row])]


def _codes(view: View, column: str) -> tuple[Int[np.ndarray, " n"], list[str]]:
    """Return the values of a column as codes into their names; a missing value is ""."""
    if column == SOURCE:
        if view.sources is None:
            raise ConfigError("--quota and --mix limit sources, and this view has none")
        return view.sources, list(view.source_names)
    texts = np.array([value_text(value) for value in view.column(column).tolist()], dtype=object)
    names, codes = np.unique(texts.astype(str), return_inverse=True)
    return codes, [str(name) for name in names.tolist()]


def _refuse_unknown(flag: str, column: str, wanted: Sequence[str], names: Sequence[str]) -> None:
    unknown = sorted(set(wanted) - set(names) - {OTHERS})
    if not unknown:
        return
    first, known = unknown[0], [name for name in names if name]
    hint = did_you_mean(first, known)
    listed = ", ".join(known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
    if column == SOURCE:
        raise ConfigError(
            f"{flag} names an unknown source {first!r}{hint}; sources here: {listed} (a column of your "
            f"own is named as in {flag} row.COLUMN:VALUE=30%)"
        )
    raise ConfigError(
        f"{flag} names {first!r}, and no eligible example has it as {column}{hint}; there are: {listed}"
    )


def _costs(view: View, budget: Budget | None) -> Float[np.ndarray, " n"]:
    """Return what each example of a view spends of a budget."""
    if budget is None or not budget.counts_tokens:
        return np.ones(len(view))
    budget.limit(view)  # refuses a view without token counts
    assert view.tokens is not None
    return view.tokens.astype(np.float64)


def _within_quotas(rows: Rows, view: View, quota: Mapping[str, str], budget: Budget | None) -> Rows:
    """Keep the rows that no quota leaves out, best first, for the size the budget asks for.

    Without a budget the size is what is left: as many as there are such that every share holds.
    """
    read = parse_quota(quota)
    coded = {column: _codes(view, column) for column in read}
    for column, limits in read.items():
        _refuse_unknown("--quota", column, list(limits), coded[column][1])
        _refuse_too_small(column, limits, coded[column], rows)
    costs = _costs(view, budget)
    whole = int(costs[rows].sum()) if budget is None else budget.limit(view)
    has_share = any(limit.is_share for limits in read.values() for limit in limits.values())
    in_tokens = budget is not None and budget.counts_tokens
    size, kept = whole, rows
    while True:  # the shares of a smaller selection are smaller; ends, as the size only falls
        caps = [
            _Cap(codes, names, read[column], size, costs)
            for column, (codes, names) in coded.items()
        ]
        fits = _fitting(rows, caps)
        kept = rows[np.flatnonzero(fits)]
        left = float(costs[kept].sum())
        if left >= size or (
            in_tokens and left + _too_little(rows, fits, caps) >= size * (1 - _EVEN)
        ):
            break
        size = math.floor(left)
        if not has_share:
            break
    enough = float(costs[rows].sum()) >= whole
    if budget is not None and enough and size < whole:
        raise BudgetError(_too_large("--quota", budget, int(whole), size, "leaves too few for it"))
    if len(rows) and not len(kept):
        raise BudgetError("--quota leaves no example; allow more")
    return kept


def _refuse_too_small(
    column: str,
    limits: Mapping[str, Budget],
    coded: tuple[Int[np.ndarray, " n"], Sequence[str]],
    rows: Rows,
) -> None:
    """Raise `BudgetError` where every value has a share, and they cannot fill a selection of any size."""
    codes, names = coded
    wanted = [limits.get(names[code], limits.get(OTHERS)) for code in np.unique(codes[rows])]
    shares = [limit.amount for limit in wanted if limit is not None and limit.is_share]
    total = math.fsum(shares)
    if wanted and len(shares) == len(wanted) and total < 1 - _EVEN:
        raise BudgetError(
            f"every {column} here has a share in --quota, and they add up to {total * 100:.6g}% of a selection, so "
            "that none is full; allow more, or give exact shares with --mix"
        )


@final
class _Cap:
    """The quotas of one column for a selection of a given size."""

    def __init__(
        self,
        codes: Int[np.ndarray, " n"],
        names: Sequence[str],
        limits: Mapping[str, Budget],
        size: int,
        costs: Float[np.ndarray, " n"],
    ) -> None:
        wanted = [limits.get(name, limits.get(OTHERS)) for name in names]
        self.codes = codes
        self.is_share = np.array([limit is not None and limit.is_share for limit in wanted])
        self.room = np.array(
            [
                math.inf if limit is None
                else float(room_of(limit.amount, size)) if limit.is_share
                else limit.amount
                for limit in wanted
            ]
        )  # fmt: skip
        self._costs = costs

    def spent_by(self, rows: Rows) -> Float[np.ndarray, " m"]:
        """Return what each row spends of the quota of its value."""
        return np.where(self.is_share[self.codes[rows]], self._costs[rows], 1.0)


def _fitting(rows: Rows, caps: Sequence[_Cap]) -> Bool[np.ndarray, " m"]:
    """Take rows in order while every quota they count towards has room.

    The first that does not fit closes its quota. O(m), in Python where there are several columns.
    """
    if len(caps) == 1:
        return _fitting_one(rows, caps[0])
    keep = np.ones(len(rows), dtype=bool)
    each = [(cap.room, cap.codes[rows].tolist(), cap.spent_by(rows).tolist()) for cap in caps]
    for i in range(len(rows)):
        full = [(room, codes[i]) for room, codes, spent in each if room[codes[i]] < spent[i]]
        for room, code in full:
            room[code] = 0
        if full:
            keep[i] = False
            continue
        for room, codes, spent in each:
            room[codes[i]] -= spent[i]
    return keep


def _fitting_one(rows: Rows, cap: _Cap) -> Bool[np.ndarray, " m"]:
    keep = np.ones(len(rows), dtype=bool)
    codes, spent = cap.codes[rows], cap.spent_by(rows)
    for code in np.flatnonzero(np.isfinite(cap.room)).tolist():
        members = np.flatnonzero(codes == code)
        fits = int(np.searchsorted(np.cumsum(spent[members]), cap.room[code], side="right"))
        keep[members[fits:]] = False
    return keep


def _too_little(rows: Rows, fits: Bool[np.ndarray, " m"], caps: Sequence[_Cap]) -> float:
    """Return what full quotas have left: too little for the next example of their value.

    Nothing for quotas of several columns, where the other one may be full.
    """
    if len(caps) > 1:
        return 0.0
    codes, spent = caps[0].codes[rows], caps[0].spent_by(rows)
    full = np.intersect1d(codes[~fits], np.flatnonzero(caps[0].is_share))
    used = np.bincount(codes[fits], spent[fits], minlength=len(caps[0].room))
    return float((caps[0].room - used)[full].sum())


def _mixed(rows: Rows, view: View, mix: Mapping[str, str], budget: Budget) -> Rows:
    """Keep the best rows of each value, as many as its share of the budget is."""
    shares = parse_mix(mix)
    keys = list(shares)
    column = part_of(keys[0])[0]
    values = [part_of(key)[1] for key in keys]
    codes, names = _codes(view, column)
    _refuse_unknown("--mix", column, values, names)
    others = values.index(OTHERS) if OTHERS in values else -1
    group_of = np.array(
        [values.index(n) if n in values else others if n else -1 for n in names], dtype=np.int64
    )
    groups = group_of[codes[rows]]
    costs = _costs(view, budget)[rows]
    total = budget.limit(view)
    parts = largest_remainder(list(shares.values()), total)
    there = [int(costs[groups == group].sum()) for group in range(len(keys))]
    short = [i for i, (part, has) in enumerate(zip(parts, there, strict=True)) if part > has]
    if short:
        unit = "tokens" if budget.counts_tokens else "examples"
        lacking = "; ".join(
            f"{keys[i]} needs {parts[i]:,} {unit} and has {there[i]:,}" for i in short
        )
        most = _largest_mix(list(shares.values()), there)
        raise BudgetError(
            _too_large("--mix", budget, total, most, f"is too large for it: {lacking}")
        )
    keep = np.zeros(len(rows), dtype=bool)
    for group, part in enumerate(parts):
        members = np.flatnonzero(groups == group)
        spent = np.cumsum(costs[members])
        n = int(np.searchsorted(spent, part, side="right"))
        if n == 0 and part:
            raise BudgetError(
                f"budget {budget} gives {keys[group]} {part:,} tokens, fewer than the {spent[0]:,.0f} of "
                "its first example; give a larger budget"
            )
        keep[members[:n]] = True
    return rows[keep]


def _largest_mix(shares: Sequence[float], there: Sequence[int]) -> int:
    """Return the largest total whose parts are all there."""
    pairs = list(zip(shares, there, strict=True))
    fits = min(math.floor(has / exact_share(share)) for share, has in pairs)
    highest = min(math.floor((has + 1) / exact_share(share)) for share, has in pairs)
    for total in range(min(highest, sum(there)), fits, -1):  # rounding may allow a few more
        parts = largest_remainder(shares, total)
        if all(part <= has for part, has in zip(parts, there, strict=True)):
            return total
    return fits


def _too_large(flag: str, budget: Budget, asked: int, most: float, why: str) -> str:
    unit, suffix = ("tokens", "tok") if budget.counts_tokens else ("examples", "")
    typed = f"{budget} ({asked:,} {unit})" if budget.is_share else f"of {asked:,} {unit}"
    advice = f"the largest that works is --budget {most:.0f}{suffix}"
    if most < 1:
        advice = "none works; give smaller shares to those that have few"
    return f"{flag}: the budget {typed} {why}; {advice}"
