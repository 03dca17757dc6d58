"""Given shares of sources, or of the values of any column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np
from jaxtyping import Float, Int

from curate import (
    Budget,
    BudgetError,
    ConfigError,
    Expression,
    Need,
    Selection,
    Selector,
    View,
    keep_within,
    places_in_group,
    read_share,
    register,
    value_text,
)


@register
@final
@dataclass(frozen=True)
class Mixture(Selector):
    """Examples of several sources in given shares, at any size.

    Picks take turns so that every size has the shares as nearly as whole examples allow: of each source its
    j-th example stands at (j - 1/2) / share, and the lowest come first. A source that runs out leaves
    its share to the others, in their proportions, and a warning says so. Which examples of a source come
    first is drawn with the seed, or decided by ``rank``. Beside ``--quota``, which bounds what another
    method takes of each source, this is a method of its own: it can be proved against random, be a
    stage of a pipeline, and count tokens. O(n log n).

    Parameters
    ----------
    shares
        ``gsm8k=50%,dolly=0.3``: the share of each value. What is left of 100% goes to the values not
        named, in proportion to their sizes; if nothing is left they are left out. Empty: every
        value in proportion to its size, which is what stratified sampling does.
    by
        Column, or expression, whose values are mixed, such as ``source``, ``dataset`` or
        ``language.code``.
    unit
        What shares are of: ``examples``, or ``tokens``, prompt and response by `length`.
    rank
        Expression over scores: the best examples of each value come first. Empty: drawn with the seed.

    Examples
    --------
    >>> view = View(np.arange(6).astype("S1"), {"by": np.array(list("aaaabb"), dtype=object)})
    >>> mixed = Mixture(("a=50%", "b=50%")).select(view, Budget(4), np.random.default_rng(0))
    >>> np.bincount(mixed.indices // 4).tolist()
    [2, 2]
    """

    name: ClassVar[str] = "mixture"
    purpose: ClassVar[str] = "baselines and parts of other methods"
    shares: tuple[str, ...] = ()
    by: str = "source"
    unit: Literal["examples", "tokens"] = "examples"
    rank: str = ""

    def __post_init__(self) -> None:
        if not self.by.strip():
            raise ConfigError("mixture.by is empty; name a column, such as source or language.code")
        total = sum(parse_shares(self.shares).values())
        if total > 1 + 1e-9:
            raise ConfigError(
                f"the shares of mixture.shares={','.join(self.shares)} add up to {total:.0%}; "
                "give at most 100%"
            )

    def requires(self) -> Mapping[str, Need | Expression]:
        needs: dict[str, Need | Expression] = {"by": Expression(self.by)}
        if self.rank.strip():
            needs["rank"] = Expression(self.rank)
        if self.unit == "tokens":
            needs["length"] = Need("length", "target")
        return needs

    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        if budget is None:
            raise BudgetError("mixture needs a budget; add --budget 10%, 5000 or 2Mtok")
        values = np.array([value_text(value) for value in view.column("by").tolist()], dtype=object)
        names, codes = np.unique(values.astype(str), return_inverse=True)
        named = self._share_of_each(names.tolist(), np.bincount(codes, minlength=len(names)))
        keys = rng.permutation(len(view)).astype(np.float64)
        usable = values != ""
        lacking = {f"{self.by} has no value": int((~usable).sum())}
        if self.rank.strip():
            keys = -view.scores("rank")
            lacking["rank is null or not finite"] = int((usable & ~np.isfinite(keys)).sum())
            usable &= np.isfinite(keys)
        lacking["no share for it"] = int((usable & (named[codes] == 0)).sum())
        rows = np.flatnonzero(usable & (named[codes] > 0))
        excluded = {reason: count for reason, count in lacking.items() if count}
        considered = replace(view, excluded={**view.excluded, **excluded})
        ranking = rows[_by_turns(keys[rows], codes[rows], named, self._sizes(view)[rows])]
        indices = keep_within(ranking, budget, considered)
        reasons = [f"{self.by} = {names[code]}" for code in codes[indices].tolist()]
        warnings = self._ran_out(names.tolist(), named, codes, rows, indices)
        return Selection(indices, None, None, reasons, excluded, warnings)

    def _sizes(self, view: View) -> Float[np.ndarray, " n"]:
        if self.unit == "examples":
            return np.ones(len(view))
        tokens = view.scores("length.prompt_tokens") + view.scores("length.response_tokens")
        return np.asarray(np.maximum(tokens, 1))

    def _share_of_each(
        self, names: Sequence[str], sizes: Int[np.ndarray, " k"]
    ) -> Float[np.ndarray, " k"]:
        given = parse_shares(self.shares)
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise ConfigError(
                f"mixture.shares names {unknown[0]!r}, and no example has it as {self.by}; there are: "
                f"{', '.join(name for name in names[:20] if name)}"
            )
        shares = np.array([given.get(name, 0.0) for name in names])
        others = np.array([name not in given and name != "" for name in names])
        left = max(1 - shares.sum(), 0.0)
        if others.any() and left > 1e-9:
            shares[others] = left * sizes[others] / sizes[others].sum()
        return shares

    def _ran_out(
        self,
        names: Sequence[str],
        shares: Float[np.ndarray, " k"],
        codes: Int[np.ndarray, " n"],
        rows: Int[np.ndarray, " m"],
        indices: Int[np.ndarray, " s"],
    ) -> tuple[str, ...]:
        if self.unit == "tokens" or len(indices) == len(rows):
            return ()
        there = np.bincount(codes[rows], minlength=len(names))
        wanted = shares / shares.sum() * len(indices)
        short = [
            f"{names[code]} has {there[code]:,} of the {wanted[code]:,.0f} examples of its share"
            for code in np.flatnonzero(there < np.floor(wanted)).tolist()
        ]
        return (f"{'; '.join(short)}: the rest comes from the others",) if short else ()


def parse_shares(shares: Sequence[str]) -> dict[str, float]:
    """Read ``name=50%`` or ``name=0.5`` each; raise `ConfigError` for anything else."""
    read: dict[str, float] = {}
    for text in shares:
        name, _, number = text.rpartition("=")
        share = read_share(number)
        if not name.strip() or share is None or name.strip() in read:
            raise ConfigError(
                f"cannot read {text!r} in mixture.shares; write each value once with its share, as in "
                "gsm8k=50% or gsm8k=0.5"
            )
        read[name.strip()] = share
    return read


def _by_turns(
    keys: Float[np.ndarray, " n"],
    codes: Int[np.ndarray, " n"],
    shares: Float[np.ndarray, " k"],
    sizes: Float[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """Order rows by where the middle of each falls in its group, over the share of the group."""
    by_group, _, _ = places_in_group(keys, codes)
    spent = np.cumsum(sizes[by_group])
    first = np.flatnonzero(np.diff(codes[by_group], prepend=-1))
    before = (spent - sizes[by_group])[first]
    spent -= np.repeat(before, np.diff(first, append=len(by_group)))
    turn = (spent - sizes[by_group] / 2) / shares[codes[by_group]]
    return by_group[np.lexsort((by_group, turn.round(9)))]
