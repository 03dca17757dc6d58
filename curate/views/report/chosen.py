"""What a selection took from the pool: its rows, the score it ranks by, and examples kept and rejected."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.errors import CurateError
from curate.views.charts.numbers import Values
from curate.views.report.pool import Mask, PoolFacts, Rows, ScoreColumn, Scored
from curate.views.selected import Picks, read_picks

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.store import Store

SHOWN: Final = 20
NEAR_CUT: Final = 10
_NUMBER: Final = r"-?\p{Nd}+(?:[.,]\p{Nd}+)*(?:e[+-]?\p{Nd}+)?"


@final
@dataclass(frozen=True, slots=True, eq=False)
class SelectionFacts:
    """The rows of a stored selection, and what a report asks of the pool it was made from.

    Parameters
    ----------
    picks
        Its rows, gains and reasons.
    record
        As `Store.selection` returns it.
    scored
        The score sets it read, by alias as it read them.
    barred
        By row of the pool, (n,): whether the method could not take it, according to the record:
        not scored, excluded, or outside its condition, selection or datasets.
    """

    picks: Picks
    record: Mapping[str, Any]
    scored: Mapping[str, Scored]
    barred: Mask

    def columns(self) -> list[ScoreColumn]:
        """Return the score columns it read."""
        return [column for scores in self.scored.values() for column in scores.columns]


@final
@dataclass(frozen=True, slots=True)
class Ordering:
    """The score a selection ranks by: a column, 1 if higher is better or -1, the last pick's value."""

    column: ScoreColumn
    sign: int
    last: float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pictured:
    """What a report shows of a selection: columns, the one it ranks by if there is one, examples."""

    columns: Sequence[ScoreColumn]
    by: Ordering | None
    picture: "Picture"

    @property
    def rows(self) -> set[int]:
        """Rows of the pool whose texts are shown."""
        return {*self.picture.best, *self.picture.borderline, *self.picture.rejected}


@final
@dataclass(frozen=True, slots=True)
class Picture:
    """Rows of the pool to show: best, borderline (kept and not), rejected; and how they were found."""

    best: Sequence[int]
    borderline: Sequence[int]
    rejected: Sequence[int]
    borderline_note: str
    rejected_note: str


def read_selections(
    store: "Store", pool: PoolFacts, scored: Sequence[Scored], selection_ids: Sequence[str]
) -> list[SelectionFacts]:
    """Read stored selections by their ids or id prefixes."""
    records = [store.selection(selection_id) for selection_id in selection_ids]
    by_id = {scores.status.set_id: scores for scores in scored}
    selections = []
    picks_of = read_picks(store, pool.snapshot, records)
    for record, picks in zip(records, picks_of, strict=True):
        bound = (record.get("score_sets") or {}).items()
        used = {alias: by_id[own["set_id"]] for alias, own in bound if own["set_id"] in by_id}
        barred = _barred(store, pool, record, used)
        selections.append(SelectionFacts(picks, record, used, barred))
    return selections


def pictured(pool: PoolFacts, scored: Sequence[Scored], chosen: SelectionFacts) -> Pictured:
    """Choose what is shown of a selection; the scores it read, or all if it read none."""
    columns = chosen.columns() or [
        column for scores in scored if scores.status.complete for column in scores.columns
    ]
    columns = [column for column in columns if len(column.finite)]
    by = ordering(chosen.picks, columns)
    return Pictured(columns, by, picture(chosen, pool, by))


def ordering(picks: Picks, columns: Sequence[ScoreColumn]) -> Ordering | None:
    """Return the column the selection ranks by; None if there is none.

    Its gains are the column, up to the sign, and never grow from one rank to the next.
    """
    rows, gains = picks.rows, picks.gains[picks.at >= 0]
    if len(gains) < 2 or not np.isfinite(gains).all() or gains[0] == gains[-1]:
        return None
    if (np.diff(gains) > 0).any():
        return None
    for column in columns:
        for sign in (1, -1):
            if np.allclose(gains, sign * column.values[rows], rtol=1e-9, atol=0):
                return Ordering(column, sign, float(column.values[rows[-1]]))
    return None


def picture(chosen: SelectionFacts, pool: PoolFacts, by: Ordering | None) -> Picture:
    """Choose the examples to show; ``by`` as `ordering` returns it.

    Best are the first picks. Borderline are the last picks and, where the selection ranks by a
    score, the first below the last of them. Rejected are spread evenly over the rest of what could
    be picked: by that score, or by id, which is a hash and thus as good as chance.
    """
    rows = chosen.picks.rows.tolist()
    best = rows[:SHOWN]
    taken = chosen.picks.mask(len(pool))
    left = np.flatnonzero(~taken & ~chosen.barred)
    if by is None:
        last = rows[len(best) :][-SHOWN:]
        note = "The last picks: the first to be dropped if the budget were smaller."
        spread = "Spread evenly by id, which is a hash: a random sample of what was left out."
        return Picture(best, last, _spread(left, SHOWN), note, spread)
    values = by.sign * by.column.values[left]
    known = ~np.isnan(values)
    order = np.argsort(-values[known], kind="stable")
    left, values = left[known][order], values[known][order]
    below = left[values <= by.sign * by.last][:NEAR_CUT]
    last = rows[len(best) :][-(SHOWN - len(below)) :]
    side, kind = ("below", "highest") if by.sign > 0 else ("above", "lowest")
    return Picture(
        best,
        [*last, *below.tolist()],
        _spread(left[~np.isin(left, below)], SHOWN),
        f"This selection ranks by {by.column.label}: its last picks, and the first {side} them.",
        f"Spread evenly over the others that were left out, from the {kind} {by.column.label} on.",
    )


def percentile(ordered: Values, value: float) -> float:
    """Return how many of the values, in ascending order, are lower, in percent."""
    return 100.0 * float(np.searchsorted(ordered, value, "left")) / max(len(ordered), 1)


def reason_kinds(reasons: "Sequence[str | None] | pa.Array") -> list[tuple[str, int]]:
    """Return the reasons without their numbers, and how often each occurs, most frequent first.

    Examples
    --------
    >>> reason_kinds(["best of 4 (-1.5)", "best of 3 (-2)", "random"])
    [('best of # (#)', 2), ('random', 1)]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = reasons if isinstance(reasons, pa.Array) else pa.array(reasons, pa.string())
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    kinds = pc.replace_substring_regex(pc.fill_null(texts, ""), _NUMBER, "#").value_counts()
    counts = zip(kinds.field("values").to_pylist(), kinds.field("counts").to_pylist(), strict=True)
    return sorted(counts, key=lambda kind: (-kind[1], kind[0]))


def _spread(rows: Rows, wanted: int) -> list[int]:
    if len(rows) <= wanted:
        return [int(row) for row in rows]
    places = np.linspace(0, len(rows) - 1, wanted).round().astype(np.int64)
    return [int(row) for row in rows[places]]


def _barred(
    store: "Store", pool: PoolFacts, record: Mapping[str, Any], scored: Mapping[str, Scored]
) -> Mask:
    import pyarrow as pa

    from curate.store.connection import literal

    barred = np.zeros(len(pool), dtype=bool)
    if record.get("where"):
        barred |= ~_where(store, pool, str(record["where"]), record.get("score_sets") or {})
    if record.get("within"):
        barred |= ~_within(store, pool, str(record["within"]))
    known = {dataset["dataset_id"] for dataset in pool.status["datasets"]}
    datasets = set(record.get("datasets") or known) & known
    if datasets != known:
        listed = ", ".join(map(literal, sorted(datasets))) or "null"
        rows = store.read(f"select distinct id from rows where dataset in ({listed})")
        barred |= ~_mask(pool, rows["id"])
    for scores in scored.values():
        if scores.failures:
            failed = f"select id from failures where set_id = {literal(scores.status.set_id)}"
            barred |= _mask(pool, store.read(failed)["id"])
    return barred | _mask(pool, pa.array(list(record.get("exclude") or ()), pa.string()))


def _mask(pool: PoolFacts, ids: "pa.Array | pa.ChunkedArray") -> Mask:
    from curate.store.ids import id_bytes

    mask = np.zeros(len(pool), dtype=bool)
    places = pool.snapshot.places(id_bytes(ids))
    mask[places[places >= 0]] = True
    return mask


def _where(
    store: "Store", pool: PoolFacts, where: str, score_sets: Mapping[str, Mapping[str, str]]
) -> Mask:
    named = {alias: score_set["set_id"] for alias, score_set in score_sets.items()}
    try:
        return np.isin(pool.snapshot.ids, store.view(bind={}, where=where, named=named).ids)
    except CurateError:
        return np.ones(len(pool), dtype=bool)  # it names scores that are gone


def _within(store: "Store", pool: PoolFacts, selection_id: str) -> Mask:
    try:
        return _mask(pool, store.selection_rows(selection_id)["id"])
    except CurateError:
        return np.ones(len(pool), dtype=bool)  # that selection is gone


def mean_ratio(values: Values, rows: Rows) -> float | None:
    """Return the mean over some rows, as a multiple of the mean over all; None where undefined."""
    known = values[~np.isnan(values)]
    taken = values[rows][~np.isnan(values[rows])]
    if not len(known) or not len(taken) or not known.mean():
        return None
    ratio = float(taken.mean() / known.mean())
    return ratio if math.isfinite(ratio) else None
