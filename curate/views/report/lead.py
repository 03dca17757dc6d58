"""A report in plain sentences: what the pool has, what needs attention, what each selection kept."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from curate.contracts.display import counted, listed
from curate.views.charts.numbers import percent
from curate.views.charts.text import one_line
from curate.views.report.chosen import SelectionFacts, mean_ratio
from curate.views.report.page import Warned
from curate.views.report.pool import Lengths, PoolFacts, Scored
from curate.views.report.repeats import Repeats

MAX_NAMED: Final = 6
SHIFTED: Final = (
    5.0  # percentage points from which on a source's share of the picks is worth a word
)
ALIKE: Final = 0.05  # of the mean length: below this, picks are as long as the pool
NAME_CHARS: Final = 40
_WORDS: Final[Mapping[str, str]] = {
    "collapse": "collapsed scores",
    "contamination": "contamination",
    "duplicates": "exact duplicates",
    "failures": "examples without scores",
    "forgotten": "deleted picks",
    "incomplete": "unfinished scores",
    "length_bias": "length bias",
    "near_duplicates": "near-duplicates",
    "stale": "stale scores",
    "truncation": "truncation",
}


def pool_lead(
    pool: PoolFacts, scored: Sequence[Scored], warned: Sequence[Warned]
) -> tuple[str, ...]:
    """Return what the pool has, and what of it needs attention."""
    if not len(pool):
        return ("The pool is empty.",)
    names = list(dict.fromkeys(scores.status.alias for scores in scored))
    shown = [*names[:MAX_NAMED], *([f"{len(names) - MAX_NAMED} more"] if names[MAX_NAMED:] else [])]
    has = (
        f"The pool has {counted(len(pool), 'example')} from {counted(len(pool.source_names), 'source')}, "
        + (f"scored by {listed(shown)}." if names else "none of them scored yet.")
    )
    kinds = [_WORDS[w.kind] for w in warned if w.level == "warning"]
    if not kinds:
        return has, "Nothing in it needs attention."
    return has, f"What needs attention: {listed(list(dict.fromkeys(kinds)))}."


def selection_sentence(
    pool: PoolFacts,
    length: Lengths,
    chosen: SelectionFacts,
    name: str,
    repeats: Repeats | None,
) -> str:
    """Return how much a selection kept, how long its picks are, where they come from."""
    rows = chosen.picks.rows
    kept = f"{name} keeps {counted(len(rows), 'example')} of {len(pool):,}"
    if not len(rows):
        return f"{kept}."
    parts = [f"{kept} ({percent(len(rows), len(pool))})", _length(length, chosen)]
    if repeats is not None:
        n = int(repeats.any[rows].sum())
        parts.append(f"{n:,} of them nearly repeat another example" if n > 1 else "")
    return f"{', '.join(filter(None, parts))}.{_shift(pool, chosen)}"


def _length(length: Lengths, chosen: SelectionFacts) -> str:
    ratio = mean_ratio(length.values, chosen.picks.rows)
    if ratio is None:
        return ""
    if abs(ratio - 1) < ALIKE:
        return "as long as the pool's on average"
    return f"{ratio:.2f} times as long as the pool's on average"


def _shift(pool: PoolFacts, chosen: SelectionFacts) -> str:
    """Return the source whose share the selection raises most, if by enough."""
    n = len(pool.source_names)
    everything = np.bincount(pool.sources, minlength=n) / len(pool)
    taken = np.bincount(pool.sources[chosen.picks.rows], minlength=n) / len(chosen.picks.rows)
    most = int(np.argmax(taken - everything))
    before, after = float(everything[most]), float(taken[most])
    if n < 2 or 100 * (after - before) < SHIFTED:
        return ""
    source = one_line(pool.source_names[most], NAME_CHARS)
    shares = f"{percent(after, 1)} of the picks, {percent(before, 1)} of the pool"
    return f" It favours source {source!r}: {shares}."
