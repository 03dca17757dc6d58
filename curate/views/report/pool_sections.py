"""Sections about a store: what is in the pool, the distributions of its scores, what they cost."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from curate.data.write.card import shown_name
from curate.data.write.portable import Portable
from curate.views.charts import svg
from curate.views.charts.numbers import (
    Bins,
    Values,
    bin_counts,
    bin_edges,
    bins_of,
    percent,
    quantiles,
    short,
    sketch,
)
from curate.views.charts.text import one_line
from curate.views.report.page import (
    Block,
    Chart,
    Charts,
    Code,
    Folded,
    Heading,
    Paragraph,
    Section,
    Table,
    Tiles,
)
from curate.views.report.pool import Lengths, PoolFacts, ScoreColumn, Scored
from curate.views.report.repeats import Repeats
from curate.views.report.repeats import describe as describe_repeats
from curate.views.report.shown import NAME_CHARS, Texts
from curate.views.report.texts import TextFacts

QUANTILES: Final = (0.01, 0.25, 0.5, 0.75, 0.99)
MAX_SOURCES: Final = 12
PAIR_CHARS: Final = 90
SHARE: Final = "share of examples, %"


def pool_section(pool: PoolFacts, length: Lengths, texts: TextFacts) -> Section:
    """Return what is in the pool: counts, lengths, sources, repeats, datasets."""
    status = pool.status
    tiles = Tiles(
        [
            ("examples", f"{len(pool):,}"),
            ("rows of the input", f"{status['n_rows']:,}"),
            ("prompts", f"{status['n_groups']:,}"),
            ("sources", f"{status['n_sources']:,}"),
            ("score sets", f"{len(status['score_sets']):,}"),
            ("selections", f"{len(pool.selections):,}"),
        ]
    )
    blocks: list[Block] = [tiles]
    if len(pool):
        blocks += [Paragraph(_responses(pool)), *_lengths(length, texts), *_sources(pool)]
        blocks += _repeated(pool, texts.repeats, texts.shown)
    blocks.append(_datasets(status["datasets"]))
    if status["targets"]:
        blocks.append(_targets(status["targets"]))
    return Section("Pool", blocks)


def score_section(pool: PoolFacts, scored: Sequence[Scored]) -> Section:
    """Return the distribution of each score set."""
    blocks: list[Block] = []
    if not scored:
        text = "Nothing is scored yet. Score the pool: curate score --scorer likelihood --model M"
        blocks.append(Paragraph(text))
    for number, scores in enumerate(scored):
        blocks += _score_set(pool, scores, is_first=number == 0)
    return Section("Scores", blocks)


def cost_section(
    scored: Sequence[Scored], bound: Mapping[str, Sequence[str]], trials: Mapping[str, Any]
) -> Section:
    """Return what scores, selections and trials cost; ``bound``: score sets by selection."""
    rows = [
        (
            f"{scores.status.alias} ({scores.status.set_id})", scores.status.device or "-",
            f"{scores.status.n_examples:,}", f"{scores.status.tokens:,}", f"{scores.status.wall_s:,.1f}",
        )
        for scores in scored
    ]  # fmt: skip
    columns = ("score set", "device", "examples", "tokens run", "seconds")
    blocks: list[Block] = [
        Paragraph("Scores are computed once and shared by every selection that reads them.", True),
        Table(columns, rows, n_left=2),
    ]
    by_id = {scores.status.set_id: scores.status for scores in scored}
    spent = [
        (
            name,
            f"{sum(by_id[i].tokens for i in ids):,}",
            f"{sum(by_id[i].wall_s for i in ids):,.1f}",
        )
        for name, ids in bound.items()
        if ids
    ]
    if spent:
        title = "Scores each selection read"
        blocks.append(Table(("selection", "tokens run", "seconds"), spent, title=title))
    if trials.get("n"):
        text = f"{trials['n']:,} training runs, {trials['tokens']:,} tokens, {trials['wall_s']:,.0f} s."
        blocks.append(Paragraph(f"Trials in this store: {text}"))
    return Section("Cost", blocks)


def chart_of(
    values: Values, title: str, x_label: str, chosen: Values | None = None, note: str = "",
    bins: Bins | None = None,
) -> Chart:  # fmt: skip
    """Return a histogram of finite values; with ``chosen`` as an outline over the pool's bars.

    ``bins`` are those of the values, where they are known.
    """
    pool = bins or bin_counts(values, bin_edges(values))
    edges = pool.edges
    series = [svg.Series("pool", pool.percent.tolist())]
    remarks = [note]
    if outside := pool.n_below + pool.n_above:
        remarks.append(
            f"{outside:,} of {pool.n:,} values are outside the chart (from "
            f"{short(float(values.min()))} to {short(float(values.max()))})."
        )
    as_text = sketch(pool)
    if chosen is not None and len(chosen):
        taken = bin_counts(chosen, edges)
        series.append(svg.Series("picked", taken.percent.tolist()))
        as_text = f"pool   {as_text}\n    picked {sketch(taken)}"
    picture = svg.histogram(edges.tolist(), series, x_label, title, SHARE)
    return Chart(title, picture, as_text, " ".join(remark for remark in remarks if remark))


def axis_label(column: ScoreColumn) -> str:
    """Return the name of a column with its meaning and unit, if there is room."""
    meaning = column.meaning.partition(";")[0]
    whole = f"{column.name}: {meaning}" if meaning else column.name
    return whole if len(whole) <= 66 else column.name


def _direction(column: ScoreColumn) -> str:
    said = column.meaning.partition("; ")[2]
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _responses(pool: PoolFacts) -> str:
    sizes = np.bincount(pool.groups)
    if sizes.max(initial=0) <= 1:
        return "Every prompt has one response."
    low, high = int(sizes.min()), int(sizes.max())
    if low == high:
        return f"Every prompt has {low} responses."
    many = int((sizes > 1).sum())
    return (
        f"{many:,} of {len(sizes):,} prompts have several responses; a prompt has {low} to {high}, "
        f"{short(float(np.median(sizes)))} at the median."
    )


def _lengths(length: Lengths, texts: TextFacts) -> Iterator[Block]:
    unit, known = length.unit, length.values[~np.isnan(length.values)]
    response = texts.response_chars.astype(np.float64)
    in_order = np.sort(response)
    table = Table(
        ("length", "minimum", "1%", "25%", "median", "75%", "99%", "maximum", "mean"),
        [
            (f"whole example, {unit}", *_summary(known, length.ordered)),
            ("response, characters", *_summary(response, in_order)),
        ],
    )
    yield Charts(
        [
            chart_of(
                known, "Length of an example", f"prompt and response, {unit}", bins=length.bins
            ),
            chart_of(
                response,
                "Length of a response",
                "last response, characters",
                bins=bins_of(in_order),
            ),
        ]
    )
    yield table


def _summary(values: Values, ordered: Values) -> list[str]:
    inner = quantiles(ordered, QUANTILES)
    statistics = [ordered[0], *inner, ordered[-1], values.mean()]
    return [short(float(value)) for value in statistics]


def _sources(pool: PoolFacts) -> Iterator[Block]:
    counts = np.bincount(pool.sources, minlength=len(pool.source_names))
    order = np.argsort(-counts, kind="stable")
    if len(order) < 2:
        yield Paragraph(f"One source: {one_line(pool.source_names[0], NAME_CHARS)}.")
        return
    shown = [
        (one_line(pool.source_names[k], NAME_CHARS), int(counts[k]))
        for k in order[:MAX_SOURCES].tolist()
    ]
    rest = int(counts[order[MAX_SOURCES:]].sum())
    if rest:
        shown.append((f"{len(order) - MAX_SOURCES:,} other sources", rest))
    names, numbers = [name for name, _ in shown], [n for _, n in shown]
    table = Table(
        ("source", "examples", "share"), [(a, f"{n:,}", percent(n, len(pool))) for a, n in shown]
    )
    series = [svg.Series("examples", numbers)]
    picture = svg.bars(names, series, "examples", "Examples by source", digits=0)
    yield Chart("Sources", picture, table)


def _repeated(pool: PoolFacts, repeats: Repeats | None, texts: Texts) -> Iterator[Block]:
    extra = int((pool.n_rows - 1).sum())
    n_rows = int(pool.n_rows.sum())
    yield Heading("Duplicates and near-duplicates")
    rows = [
        ("rows that repeat an example exactly (kept once)", f"{extra:,}", percent(extra, n_rows))
    ]
    if repeats is None:
        yield Table(("", "count", "share"), rows)
        return
    same, near = int(repeats.same_words.sum()), int((repeats.same_runs & ~repeats.same_words).sum())
    rows += [
        ("examples with the same words as another one", f"{same:,}", percent(same, len(pool))),
        (
            "further examples that share most of their 13-word runs",
            f"{near:,}",
            percent(near, len(pool)),
        ),
    ]
    yield Table(("", "count", "share"), rows)
    yield Paragraph(describe_repeats(repeats), quiet=True)
    if repeats.pairs:
        pairs = [[_shown(pool, texts, row) for row in pair] for pair in repeats.pairs]
        yield Table(("an example", "one it repeats"), pairs, n_left=2, title="Some of them")


def _shown(pool: PoolFacts, texts: Texts, row: int) -> str:
    [name] = pool.snapshot.names(np.array([row]))
    if row not in texts:
        return name[:8]
    prompt, response = texts[row]
    whole = f"{prompt.head} {prompt.tail}".rstrip()
    end = one_line(whole[-PAIR_CHARS:], PAIR_CHARS)
    start = "…" if len(whole) > PAIR_CHARS else ""
    return f"{name[:8]}: {start}{end} → {one_line(response.head, PAIR_CHARS)}"


def _datasets(datasets: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            shown_name(dataset), str(dataset["format"]), dataset["content_hash"][:16],
            f"{dataset['n_rows']:,}", f"{dataset['n_added']:,}",
        )
        for dataset in datasets
    ]  # fmt: skip
    columns = ("dataset", "format", "hash", "rows", "new examples")
    return Table(columns, rows, n_left=3, title="Datasets")


def _targets(targets: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            str(target["name"]), f"{target['n_rows']:,}", f"{target['n_examples']:,}",
            f"{target['n_in_pool']:,} of {target['n_pool']:,}",
        )
        for target in targets
    ]  # fmt: skip
    columns = ("target set", "rows", "examples", "of them in the pool when added")
    return Table(columns, rows, n_left=1, title="Target sets")


def _score_set(pool: PoolFacts, scored: Scored, *, is_first: bool) -> Iterator[Block]:
    status = scored.status
    yield Heading(f"{status.alias} · {model_name(status)}")
    states = {"complete": status.complete, "stale": status.stale, "partial": status.partial}
    state = next((name for name, holds in states.items() if holds), "incomplete")
    failed = ", ".join(f"{n:,} {reason}" for reason, n in scored.failures.items())
    yield Paragraph(
        f"Score set {status.set_id}: scorer {status.scorer}, version {status.version}, {state}, "
        f"{status.n_examples:,} of {len(pool):,} examples"
        + (f", without a score: {failed}." if failed else "."),
        quiet=True,
    )
    drawn = [c for c in scored.columns if c.dtype != "bool" and _varies(c.ordered)]
    charts = [
        chart_of(c.finite, c.label, axis_label(c), note=_direction(c), bins=c.bins) for c in drawn
    ]
    if charts:
        yield Charts(charts)
    rows = [_column_row(pool, column) for column in scored.columns if len(column.ordered)]
    if rows:
        names = (
            "column",
            "values",
            "minimum",
            "1%",
            "25%",
            "median",
            "75%",
            "99%",
            "maximum",
            "mean",
        )
        numbers = Table((*names, "mode (share)"), rows)
        yield Folded(f"Numbers of {status.alias}", [numbers], open_as_text=is_first)
    others = {n: d for n, d in status.columns.items() if n not in {c.name for c in scored.columns}}
    if others:
        listed = ", ".join(f"{name} ({dtype})" for name, dtype in others.items())
        yield Paragraph(f"Columns without a distribution to draw: {listed}.", quiet=True)
    yield Code("What these scores are keyed by", _pretty(status.spec))


def _varies(ordered: Values) -> bool:
    return bool(len(ordered) and ordered[0] < ordered[-1])


def model_name(status: Any) -> str:
    """Return a short name of a score set's model."""
    name = (status.spec.get("run") or {}).get("model") if isinstance(status.spec, Mapping) else None
    return str(name).rstrip("/").rpartition("/")[2] if status.model and name else "no model"


def _column_row(pool: PoolFacts, column: ScoreColumn) -> list[str]:
    values = column.finite
    value, share = column.most_common
    if column.dtype == "bool":
        true = int(values.sum())
        return [
            column.name,
            f"{len(values):,}",
            *["-"] * 7,
            f"{percent(true, len(values))} true",
            "-",
        ]
    common = f"{short(value)} ({percent(share, 1)})"
    return [column.name, f"{len(values):,}", *_summary(values, column.ordered), common]


def _pretty(value: Any) -> str:
    return json.dumps(Portable().value(value), indent=2, ensure_ascii=False, default=str)
