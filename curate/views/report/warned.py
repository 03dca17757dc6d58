"""What a reader of a page should know first, with the threshold of each rule."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from curate.contracts.display import counted, listed
from curate.prove.contamination import Overlap
from curate.scoring.outcome import text_limit
from curate.views.charts.numbers import Values, percent, short
from curate.views.report.chosen import SelectionFacts, mean_ratio
from curate.views.report.contaminated import CONTAMINATION
from curate.views.report.page import Level, Warned
from curate.views.report.pool import Lengths, PoolFacts, Scored
from curate.views.report.repeats import Repeats
from curate.views.report.texts import TextFacts
from curate.views.selected import SelectedRows

FEW: Final = 0.01  # a share below this is a note, not a warning
# Their columns count rare faults, so that most of their values are alike in a good pool.
RARE: Final = ("contamination", "near_duplicate", "semantic_duplicate", "pii")
COLLAPSED: Final = 0.5  # share of the most common value from which on a score has collapsed
BIASED: Final = 1.5  # ratio of mean lengths, either way
OFF_MEDIAN: Final = 25.0  # percent between which the median pick's length should lie in the pool


def about_pool(pool: PoolFacts, repeats: Repeats | None) -> Iterator[Warned]:
    """Yield what is wrong with the texts."""
    if not len(pool):
        yield Warned("empty", "The pool is empty. Ingest some examples: curate ingest DATA", "note")
        return
    n_rows = int(pool.n_rows.sum())
    extra = n_rows - len(pool)
    if extra:
        yield Warned(
            "duplicates",
            f"{extra:,} of {n_rows:,} rows ({percent(extra, n_rows)}) repeat another row exactly; "
            "each example is scored and selected once.",
            _level(extra, 10 * n_rows * FEW),
        )
    if repeats is not None and repeats.any.any():
        n = int(repeats.any.sum())
        yield Warned(
            "near_duplicates",
            f"{n:,} of {len(pool):,} examples ({percent(n, len(pool))}) nearly repeat another one.",
            _level(n, len(pool) * FEW),
        )


def about_scores(pool: PoolFacts, scored: Sequence[Scored]) -> Iterator[Warned]:
    """Yield truncation, failures, collapse, and sets that do not cover the pool."""
    if len(pool) and not scored:
        text = "No example is scored yet. Start with: curate score --scorer likelihood --model M"
        yield Warned("no_scores", text, "note")
    for scores in scored:
        yield from _coverage(scores, len(pool))
    yield from _failures(scored, len(pool))
    yield from _truncation(scored)
    for scores in scored:
        if scores.status.scorer not in RARE:
            yield from _collapse(scores)
        if scores.status.scorer == CONTAMINATION:
            yield from _contamination(scores)


def _coverage(scored: Scored, n_pool: int) -> Iterator[Warned]:
    status = scored.status
    name = f"{status.alias} ({status.set_id})"
    if status.stale:
        text = f"Scores {name} are stale: the pool has changed since. Score again to renew them."
        yield Warned("stale", text)
    elif not status.complete and not status.partial:
        text = f"Scores {name} cover {status.n_examples:,} of {n_pool:,} examples."
        yield Warned("incomplete", f"{text} Run the same scoring command again to finish.")


def _failures(scored: Sequence[Scored], n_pool: int) -> Iterator[Warned]:
    """Yield one warning for all the score sets that fail the same way."""
    alike: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for scores in scored:
        if scores.failures:
            alike.setdefault(tuple(scores.failures.items()), []).append(scores.status.alias)
    for failures, names in alike.items():
        n = sum(count for _, count in failures)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in failures[:3])
        yield Warned(
            "failures",
            f"{counted(n, 'example')} ({percent(n, n_pool)}) without a value of {listed(names)}: "
            f"{reasons}. Methods that read it cannot select them.",
            _level(n, n_pool * FEW),
        )


def _truncation(scored: Sequence[Scored]) -> Iterator[Warned]:
    """Yield one warning for all score sets that truncate the same number of examples."""
    alike: dict[tuple[int, int, str], list[str]] = {}
    for scores in scored:
        column = scores.column("truncated")
        if column is not None and (n := int(column.finite.sum())) > 0:
            key = (n, len(column.ordered), text_limit(scores.status))
            alike.setdefault(key, []).append(scores.status.alias)
    for (n, total, limit), names in alike.items():
        what = f"{counted(n, 'example')} ({percent(n, total)})"
        yield Warned(
            "truncation",
            f"{listed(names)} truncated {what} to {limit}: the rest has no score.",
            _level(n, total * FEW),
        )


def _collapse(scored: Scored) -> Iterator[Warned]:
    for column in scored.columns:
        if column.dtype == "bool" or len(column.ordered) < 2:
            continue
        value, share = column.most_common
        if share > COLLAPSED:
            what = f"{percent(share, 1)} of the examples have the value {short(value)}"
            text = f"{column.label} has collapsed: {what}. Ranking by it is mostly ranking by id."
            yield Warned("collapse", text)


def _contamination(scored: Scored) -> Iterator[Warned]:
    column = scored.column("n")
    if column is None or not len(column.finite):
        return
    name = scored.status.alias
    n, total = int((column.finite > 0).sum()), len(column.finite)
    if not n:
        text = f"No example shares a run of words with the files of {name}."
        yield Warned("contamination", text, "note")
        return
    text = (
        f"{counted(n, 'example')} ({percent(n, total)}) share{'s' if n == 1 else ''} words in a row with the "
        f'files of {name}. Leave them out before you measure on these: --where "{name}.n == 0".'
    )
    yield Warned("contamination", text)


def about_overlap(overlaps: Sequence[Overlap]) -> Iterator[Warned]:
    """Yield what benchmarks share with the pool."""
    for overlap in overlaps:
        if not overlap.ids:
            text = f"Nothing of benchmark {overlap.target!r} ({overlap.n_examples:,} examples) is in the pool."
            yield Warned("contamination", text, "note")
            continue
        yield Warned(
            "contamination",
            f"{len(overlap.ids):,} of {overlap.n_examples:,} examples of benchmark {overlap.target!r} overlap "
            f"with {len(overlap.in_pool):,} of the pool: {len(overlap.same_example):,} are in it, "
            f"{len(overlap.same_prompt):,} share a prompt with it, {len(overlap.same_words):,} share 13 "
            "words in a row with it. Leave those of the pool out with --exclude before you measure on "
            "this benchmark.",
            "note" if overlap.is_small else "warning",
        )


def about_selection(
    chosen: SelectionFacts,
    length: Lengths,
    texts: TextFacts,
    overlaps: Sequence[Overlap],
) -> Iterator[Warned]:
    """Yield what is unusual about a selection compared with its pool."""
    picks = chosen.picks
    name = f"{picks.name} ({picks.selection_id})"
    if picks.n_deleted:
        text = (
            f"{picks.n_deleted:,} of {len(picks.at):,} picks of {name} are no longer in the pool."
        )
        yield Warned("forgotten", f"{text} They are left out of everything below.")
    responses = texts.response_chars.astype(np.float64)
    biases = [
        length_bias(length.values, picks, f"examples ({length.unit})"),
        length_bias(responses, picks, "responses (characters)"),
    ]
    if any(biases):
        text = (
            f"{name} differs from the pool in length: {'; '.join(filter(None, biases))}. Compare "
        )
        text += "it with a random subset of equal tokens, not of equal count."
        yield Warned("length_bias", text)
    picked = {*picks.names()} if overlaps else set()
    for overlap in overlaps:
        shared = len(picked & overlap.in_pool)
        if shared:
            text = (
                f"Overlap with benchmark {overlap.target!r}: {counted(shared, 'pick')} of {name}."
            )
            yield Warned("contamination", text, "note" if overlap.is_small else "warning")


def length_bias(values: Values, picks: SelectedRows, what: str) -> str:
    """Describe how picks differ in length from the pool; "" if they hardly do."""
    ratio = mean_ratio(values, picks.rows)
    place = median_place(values, picks)
    if ratio is None or place is None:
        return ""
    if 1 / BIASED <= ratio <= BIASED and OFF_MEDIAN <= place <= 100 - OFF_MEDIAN:
        return ""
    return (
        f"its {what} have {ratio:.2f} times the mean length, and their median is longer than "
        f"{place:.0f}% of the pool"
    )


def median_place(values: Values, picks: SelectedRows) -> float | None:
    """Return the percentile of the median pick among all values, ties counted half."""
    known = values[~np.isnan(values)]
    taken = values[picks.rows]
    taken = taken[~np.isnan(taken)]
    if not len(known) or not len(taken):
        return None
    middle = float(np.median(taken))
    below, equal = float((known < middle).sum()), float((known == middle).sum())
    return 100.0 * (below + equal / 2) / len(known)


def _level(n: int, enough: float) -> Level:
    return "warning" if n >= enough else "note"
