"""Sections about selections: what each took, from where, how long, how scored, and which."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from curate.algorithms.overlap import jaccard_matrix
from curate.data.write.portable import Portable
from curate.views.charts import svg
from curate.views.charts.numbers import Values, percent, quantiles, short
from curate.views.charts.text import one_line
from curate.views.report.chosen import (
    Pictured,
    SelectionFacts,
    mean_ratio,
    percentile,
    reason_kinds,
)
from curate.views.report.page import (
    Block,
    Chart,
    Charts,
    Code,
    Folded,
    Notices,
    Paragraph,
    Section,
    Table,
    Tiles,
    Warned,
)
from curate.views.report.pool import Lengths, PoolFacts, ScoreColumn, Scored
from curate.views.report.pool_sections import axis_label, chart_of
from curate.views.report.repeats import Repeats
from curate.views.report.shown import NAME_CHARS, example_blocks
from curate.views.report.texts import TextFacts
from curate.views.report.warned import median_place

MAX_KINDS: Final = 12
MAX_LISTED: Final = 20
CLUSTER: Final = "cluster"


def selection_section(
    pool: PoolFacts,
    scored: Sequence[Scored],
    length: Lengths,
    chosen: SelectionFacts,
    pictured: Pictured,
    texts: TextFacts,
    name: str,
    sentence: str,
) -> Section:
    """Return everything about one selection, ``sentence`` first; ``texts`` are those it shows."""
    record = chosen.record
    blocks: list[Block] = [Paragraph(sentence), _tiles(pool, length, chosen, texts.repeats)]
    blocks.append(_settings(record))
    said = [Warned("selection", str(text), "note") for text in record.get("warnings") or ()]
    if said:
        blocks += [Paragraph("Warnings when it was made:", quiet=True), Notices(said)]
    excluded = (record.get("n_excluded") or {}).items()
    if excluded:
        rows = [(str(reason), f"{n:,}") for reason, n in excluded]
        blocks.append(Table(("could not be picked", "examples"), rows))
    kinds = [
        (kind or "no reason given", f"{n:,}") for kind, n in reason_kinds(chosen.picks.reasons)
    ]
    blocks.append(Table(("reason of the pick (# is a number)", "picks"), kinds[:MAX_KINDS]))
    if len(chosen.picks.rows):
        blocks += [*_by_source(pool, chosen), *_by_length(length, chosen)]
        blocks += _by_cluster(pool, scored, chosen)
        blocks += [*_by_score(chosen, pictured.columns)]
        blocks += [*example_blocks(pool, chosen, pictured, texts.shown)]
    blocks.append(
        Code(
            "Manifest", json.dumps(Portable().value(_trimmed(record)), indent=2, ensure_ascii=False)
        )
    )
    return Section(f"Selection: {name}", blocks)


def overlap_section(names: Sequence[str], ids: Sequence[Collection[object]]) -> Section:
    """Return how much selections overlap."""
    matrix = jaccard_matrix(ids)
    rows = [
        (name, *(f"{value:.2f}" for value in values))
        for name, values in zip(names, matrix, strict=True)
    ]
    chart = Chart(
        "Shared examples over all examples of both (Jaccard)",
        svg.heat_map(names, names, matrix, "Overlap of selections"),
        Table(("", *names), rows),
        "1 means the same set, 0 nothing in common.",
    )
    return Section("Overlap of selections", [chart])


def _tiles(
    pool: PoolFacts, length: Lengths, chosen: SelectionFacts, repeats: Repeats | None
) -> Tiles:
    record = chosen.record
    ratio = mean_ratio(length.values, chosen.picks.rows)
    place = median_place(length.values, chosen.picks)
    groups = len(np.unique(pool.groups[chosen.picks.rows]))
    tokens = record.get("n_tokens")
    items = [
        ("picked", f"{len(chosen.picks.at):,}"),
        ("of the pool", percent(len(chosen.picks.rows), len(pool))),
        ("could be picked", short(record.get("n_eligible"))),
        ("tokens", short(tokens)),
        ("prompts", f"{groups:,}"),
        (f"times the pool's mean length ({length.unit})", "-" if ratio is None else f"{ratio:.2f}"),
        ("of the pool is shorter than its median", "-" if place is None else f"{place:.0f}%"),
    ]
    if repeats is not None:
        n = int(repeats.any[chosen.picks.rows].sum())
        items.append(("near-duplicates of others", percent(n, len(chosen.picks.rows))))
    return Tiles(items)


def _settings(record: Mapping[str, Any]) -> Table:
    names = (
        "selection_id",
        "method",
        "config",
        "budget",
        "seed",
        "where",
        "within",
        "quota",
        "mix",
        "created_at",
    )
    rows = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name in names
        if (value := record.get(name)) not in (None, {}, [])
    ]
    listed = [(name, f"{len(record[name]):,} examples") for name in ("include", "exclude")
              if record.get(name)]  # fmt: skip
    return Table(("setting", "value"), [*rows, *listed], n_left=2)


def _by_source(pool: PoolFacts, chosen: SelectionFacts) -> Iterator[Block]:
    if len(pool.source_names) < 2:
        return
    title = "What was picked, by source"
    names = [one_line(name, NAME_CHARS) for name in pool.source_names]
    yield from _shares(title, "source", pool.sources, names, pool, chosen)


def _by_cluster(
    pool: PoolFacts, scored: Sequence[Scored], chosen: SelectionFacts
) -> Iterator[Block]:
    for scores in scored:
        column = scores.column(CLUSTER)
        if column is None or column.dtype != "int":
            continue
        known = ~np.isnan(column.values)
        numbers = np.where(known, column.values, -1).astype(np.int64)
        labels, codes = np.unique(numbers, return_inverse=True)
        names = [f"cluster {label}" if label >= 0 else "no cluster" for label in labels.tolist()]
        reached = len(np.unique(numbers[chosen.picks.rows]))
        yield Paragraph(f"Picks are in {reached:,} of {len(labels):,} clusters of {column.label}.")
        title = f"What was picked, by {column.label}"
        yield from _shares(title, "cluster", codes, names, pool, chosen)


def _shares(
    title: str, kind: str, codes: np.ndarray[Any, Any], names: Sequence[str], pool: PoolFacts, chosen: SelectionFacts
) -> Iterator[Block]:  # fmt: skip
    """Compare shares of the pool and of the picks, largest differences first."""
    everything = np.bincount(codes, minlength=len(names))
    taken = np.bincount(codes[chosen.picks.rows], minlength=len(names))
    shares = 100 * everything / len(pool), 100 * taken / len(chosen.picks.rows)
    order = np.argsort(-np.abs(shares[1] - shares[0]), kind="stable")[:MAX_KINDS].tolist()
    rows = [
        (
            names[k], f"{everything[k]:,}", f"{taken[k]:,}", f"{shares[0][k]:.1f}%",
            f"{shares[1][k]:.1f}%", f"{shares[1][k] / shares[0][k]:.2f}",
        )
        for k in order
    ]  # fmt: skip
    left = len(names) - len(order)
    note = f"The {len(order)} that differ most; {left:,} more are not shown." if left > 0 else ""
    columns = (kind, "in the pool", "picked", "share of the pool", "share of the picks", "ratio")
    series = [
        svg.Series("pool", [float(shares[0][k]) for k in order]),
        svg.Series("picked", [float(shares[1][k]) for k in order]),
    ]
    picture = svg.bars([names[k] for k in order], series, "share, %", title)
    yield Chart(title, picture, "", note)
    yield Folded("Numbers", [Table(columns, rows)], open_as_text=True)


def _by_length(length: Lengths, chosen: SelectionFacts) -> Iterator[Block]:
    taken = length.values[chosen.picks.rows]
    taken = taken[~np.isnan(taken)]
    known, label = length.ordered, f"prompt and response, {length.unit}"
    if not len(known):
        return
    yield Charts(
        [
            chart_of(known, "Length, pool and picks", label, taken, bins=length.bins),
            tenths_chart(known, taken, length.unit),
        ]
    )


def tenths_chart(known: Values, taken: Values, unit: str) -> Chart:
    """Draw the share of each tenth of the pool, by length, that was picked; ``known`` ascends."""
    inside = np.unique(quantiles(known, np.linspace(0, 1, 11).tolist()))[1:-1]
    until = np.searchsorted(known, inside, "right")
    everything = np.diff(until, prepend=0, append=len(known))
    picked = np.bincount(np.searchsorted(inside, taken, "left"), minlength=len(inside) + 1)
    kept = everything > 0
    ends = [*inside.tolist(), float(known[-1])]
    starts = [float(known[0]), *inside.tolist()]
    names = [
        f"{low:,.0f}" if round(low) == round(high) else f"{low:,.0f} to {high:,.0f}"
        for low, high in zip(starts, ends, strict=True)
    ]
    shares = [100.0 * p / n if n else 0.0 for p, n in zip(picked, everything, strict=True)]
    rows = [
        (name, f"{n:,}", f"{p:,}", f"{share:.1f}%")
        for name, n, p, share in zip(names, everything, picked, shares, strict=True)
        if n
    ]
    title = "Picked of each tenth of the pool, by length"
    shown = [k for k in range(len(names)) if kept[k]]
    picture = svg.bars(
        [names[k] for k in shown],
        [svg.Series("picked", [float(shares[k]) for k in shown])],
        f"picked of the examples of that length ({unit}), %",
        title,
        width=460,
    )
    overall = percent(len(taken), len(known))
    table = Table((f"length, {unit}", "in the pool", "picked", "share"), rows)
    return Chart(title, picture, table, f"Without a length bias every bar would be at {overall}.")


def _by_score(chosen: SelectionFacts, columns: Sequence[ScoreColumn]) -> Iterator[Block]:
    charts, rows = [], []
    for column in columns:
        taken = column.values[chosen.picks.rows]
        taken = taken[~np.isnan(taken)]
        if not len(taken):
            continue
        finite = column.finite
        if column.dtype != "bool":
            drawn = chart_of(finite, column.label, axis_label(column), taken, bins=column.bins)
            charts.append(drawn)
        means = float(finite.mean()), float(taken.mean())
        if column.dtype == "bool":
            shares = (f"{percent(mean, 1)} true" for mean in means)
            rows.append((column.label, *shares, "-", "-"))
            continue
        middle = float(np.median(taken))
        place = f"{percentile(column.ordered, middle):.0f}%"
        rows.append((column.label, *map(short, means), short(middle), place))
    if charts:
        yield Charts(charts)
    if rows:
        names = ("score", "mean of the pool", "mean of the picks", "median pick", "higher than")
        yield Table(names, rows)


def _trimmed(value: Any) -> Any:
    """Return a manifest with long lists cut, and how many entries were cut."""
    if isinstance(value, Mapping):
        return {key: _trimmed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        kept = [_trimmed(item) for item in value[:MAX_LISTED]]
        more = len(value) - len(kept)
        return [*kept, f"... {more:,} more"] if more else kept
    return value
