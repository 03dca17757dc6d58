"""Examples of a selection: shortened texts, and scores with their rank in the pool."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, final

import numpy as np

from curate.views.charts.numbers import short
from curate.views.charts.text import one_line
from curate.views.report.chosen import Ordering, Pictured, SelectionFacts, percentile
from curate.views.report.page import Block, Examples, Excerpt, Shown
from curate.views.report.pool import Mask, PoolFacts, ScoreColumn
from curate.views.selected import Picks

TEXT_HEAD: Final = 600
TEXT_TAIL: Final = 300
MIN_CUT: Final = 100  # a text that is longer by fewer characters is shown whole
LINE_CHARS: Final = 90
NAME_CHARS: Final = 60

Texts = Mapping[int, tuple[Excerpt, Excerpt]]


def example_blocks(
    pool: PoolFacts, chosen: SelectionFacts, pictured: Pictured, texts: Texts
) -> Iterator[Block]:
    """Yield the best, the borderline and the rejected examples of a selection, with their texts."""
    shown = pictured.picture
    show = _Showing(pool, chosen.picks, pictured.columns, texts, pictured.by)
    parts = (
        ("best", "The first picks.", shown.best),
        ("borderline", shown.borderline_note, shown.borderline),
        ("rejected", shown.rejected_note, shown.rejected),
    )
    for name, note, rows in parts:
        items = [show(row) for row in rows]
        yield Examples(f"{len(items)} {name}", note, items)


@final
class _Showing:
    """Turns rows of the pool into examples to show."""

    def __init__(
        self, pool: PoolFacts, picks: Picks, columns: Sequence[ScoreColumn], texts: Texts,
        by: Ordering | None,
    ) -> None:  # fmt: skip
        self._pool, self._columns, self._texts, self._by = pool, columns, texts, by
        self._picks = picks

    def __call__(self, row: int) -> Shown:
        k = _first(self._picks.at == row)
        [name] = self._pool.snapshot.names(np.array([row]))
        prompt, response = self._texts.get(row, (Excerpt("prompt", ""), Excerpt("response", "")))
        place = f"#{k + 1}" if k is not None else "not picked"
        has_gain = k is not None and np.isfinite(self._picks.gains[k])
        gain = short(float(self._picks.gains[k])) if has_gain else ""
        line = one_line(response.head, LINE_CHARS) or "(empty response)"
        title = " · ".join(filter(None, (place, gain and f"gain {gain}", line)))
        source = self._pool.source_names[self._pool.sources[row]]
        facts = [("id", name), ("source", one_line(source, NAME_CHARS))]
        facts.append(("characters", f"{int(self._pool.n_chars[row]):,}"))
        facts += [self._score(column, row) for column in self._columns]
        reason = (self._picks.reasons[k].as_py() if k is not None else self._why_not(row)) or ""
        return Shown(title, facts, reason, (prompt, response), k is not None)

    def _score(self, column: ScoreColumn, row: int) -> tuple[str, str]:
        value = float(column.values[row])
        if np.isnan(value):
            return column.label, "none"
        if column.dtype == "bool":
            return column.label, "yes" if value else "no"
        below = percentile(column.ordered, value)
        return column.label, f"{short(value)} (higher than {below:.0f}%)"

    def _why_not(self, row: int) -> str:
        at = self._picks.at
        mate = _first((at >= 0) & (self._pool.groups[at] == self._pool.groups[row]))
        if mate is not None:
            text = f"Another response to the same prompt was picked, at rank {mate + 1:,}."
        else:
            text = f"Not among the {len(self._picks.at):,} picks."
        if self._by is None:
            return text
        value = float(self._by.column.values[row])
        name, last = self._by.column.label, short(self._by.last)
        text = f"{text} Its {name} is {short(value)}; the last pick's is {last}."
        if self._by.sign * value > self._by.sign * self._by.last:
            text += " It was skipped for a reason other than rank."
        return text


def _first(holds: Mask) -> int | None:
    """Return the first place at which something holds; None if there is none."""
    k = int(holds.argmax()) if len(holds) else 0
    return k if holds[k : k + 1].any() else None


def read_excerpts(pool: PoolFacts, rows: Iterable[int]) -> Texts:
    """Return prompt and response of a few examples, cut in the middle if they are long.

    Every file that has one of them is read whole, so ask once for all.
    """
    asked = np.array(sorted(rows), dtype=np.int64)
    if not len(asked):
        return {}
    from curate.store.connection import literal
    from curate.store.ids import id_bytes

    listed = ", ".join(map(literal, pool.snapshot.names(asked)))
    files = ", ".join(map(literal, pool.snapshot.text_files(asked)))
    with pool.snapshot.memory() as con:
        table = con.sql(
            f"select id, prompt, response from read_parquet([{files}]) where id in ({listed})"
        ).to_arrow_table()
    at = pool.snapshot.places(id_bytes(table["id"])).tolist()
    return {
        row: (excerpt("prompt", texts["prompt"]), excerpt("response", texts["response"]))
        for row, texts in zip(at, table.to_pylist(), strict=True)
    }


def excerpt(name: str, text: str | None) -> Excerpt:
    """Return a text, cut in the middle if it is long."""
    whole = text or ""
    if len(whole) < TEXT_HEAD + TEXT_TAIL + MIN_CUT:
        return Excerpt(name, whole)
    n_left_out = len(whole) - TEXT_HEAD - TEXT_TAIL
    return Excerpt(name, whole[:TEXT_HEAD], n_left_out, whole[-TEXT_TAIL:])
