"""Charts as static SVG: no script, no font, no file beside it; colours follow the page's theme.

Every mark has its numbers in a tooltip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from curate.views.charts import text as texts
from curate.views.charts.canvas import (
    CHAR,
    GREY,
    PALETTE,
    SHAPES,
    Canvas,
    Scale,
    colour_of,
    legend,
    margin,
    one_label,
    padded,
    px,
    x_axis,
    y_axis,
)
from curate.views.charts.numbers import short

_ROW: Final = 24.0


@final
@dataclass(frozen=True, slots=True)
class Series:
    """Named numbers of one colour; None where there is no value."""

    name: str
    values: Sequence[float | None]


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; None where there is none. ``colour`` indexes the palette."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    colour: int = 0
    remark: str = ""


def histogram(
    edges: Sequence[float], series: Sequence[Series], x_label: str, title: str, y_label: str
) -> str:
    """Draw bins between edges; further series are outlines over the first one's bars."""
    canvas = Canvas(460, 250 if len(series) > 1 else 230, title)
    top = 30.0 if len(series) > 1 else 10.0
    x = Scale(edges[0], edges[-1], 52, 450)
    highest = max((v for line in series for v in line.values if v is not None), default=0.0)
    y = Scale(0, highest or 1.0, canvas.height - 46, top)
    y_axis(canvas, y, y_label)
    x_axis(canvas, x, y(0), x_label)
    for number, line in enumerate(series):
        colour = GREY if number == 0 and len(series) > 1 else colour_of(number and number - 1)
        values = [value or 0.0 for value in line.values]
        if number:
            outline = [(x(edges[0]), y(0))]
            for left, right, value in zip(edges, edges[1:], values, strict=False):
                outline += [(x(left), y(value)), (x(right), y(value))]
            outline.append((x(edges[-1]), y(0)))
            dashes = ' stroke-dasharray="7 3"' if number > 1 else ""
            canvas.path(outline, f'fill="none" stroke="{colour}" stroke-width="2.2"{dashes}')
            continue
        for left, right, value in zip(edges, edges[1:], values, strict=False):
            if value:
                tip = f"{short(left)} to {short(right)}: {value:.2f}%"
                gap = 0.5 if x(right) - x(left) > 3 else 0
                canvas.rect(
                    x(left) + gap, y(value), x(right) - x(left) - 2 * gap, y(0) - y(value),
                    f'fill="{colour}"', tip,
                )  # fmt: skip
    if len(series) > 1:
        legend(
            canvas,
            [(line.name, GREY if not k else colour_of(k - 1)) for k, line in enumerate(series)],
        )
    return canvas.svg()


def bars(
    labels: Sequence[str],
    series: Sequence[Series],
    x_label: str,
    title: str,
    digits: int = 1,
    width: float = 640,
) -> str:
    """Draw horizontal bars from 0, one group a label and one bar a series, with their values."""
    thick = 16.0 if len(series) == 1 else 15.0
    left = margin(labels)
    top = 26.0 if len(series) > 1 else 6.0
    height = top + len(labels) * (thick * len(series) + 8) + 42
    canvas = Canvas(width, height, title)
    known = [v for bar in series for v in bar.values if v is not None]
    x = Scale(min(0.0, *known, 0.0), max(0.0, *known, 0.0) or 1.0, left, width - 60)
    bottom = height - 42
    x_axis(canvas, x, bottom, x_label, grid_top=top)
    for row, label in enumerate(labels):
        start = top + row * (thick * len(series) + 8) + 4
        canvas.text(left - 6, start + thick * len(series) / 2 + 4, one_label(label), "end")
        for number, bar in enumerate(series):
            value = bar.values[row]
            if value is None:
                continue
            at = start + number * thick
            edge, origin = x(value), x(0)
            colour = GREY if number == 0 and len(series) > 1 else colour_of(number and number - 1)
            canvas.rect(
                min(edge, origin), at, abs(edge - origin), thick - 2, f'fill="{colour}"',
                f"{label}, {bar.name}: {value:,.{digits}f}",
            )  # fmt: skip
            canvas.text(max(edge, origin) + 4, at + thick - 5, f"{value:,.{digits}f}")
    if len(series) > 1:
        legend(
            canvas,
            [(bar.name, GREY if not k else colour_of(k - 1)) for k, bar in enumerate(series)],
        )
    return canvas.svg()


def intervals(
    rows: Sequence[Estimate],
    x_label: str,
    title: str,
    reference: float | None = None,
    width: float = 460,
) -> str:
    """Draw values with their intervals below one another, a dashed line at ``reference``."""
    left = margin([row.label for row in rows])
    height = 12 + len(rows) * _ROW + 44
    canvas = Canvas(width, height, title)
    remarks = margin([row.remark for row in rows]) if any(row.remark for row in rows) else 12
    ends = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    ends += [] if reference is None else [reference]
    x = padded(ends, left, width - remarks)
    bottom = height - 44
    x_axis(canvas, x, bottom, x_label, grid_top=8)
    if reference is not None:
        look = 'stroke="currentColor" stroke-dasharray="5 4" opacity=".7"'
        canvas.path([(x(reference), 8), (x(reference), bottom)], look)
    for number, row in enumerate(rows):
        y = 12 + (number + 0.5) * _ROW
        canvas.text(left - 6, y + 4, one_label(row.label), "end")
        if row.value is None:
            canvas.text(x.start + 4, y + 4, "no value", "start", ' class="soft"')
        else:
            _whisker(canvas, x, y, row)
        canvas.text(width - remarks + 10, y + 4, one_label(row.remark))
    return canvas.svg()


def lines(
    places: Sequence[str], series: Sequence[Sequence[Estimate]], x_label: str, y_label: str, title: str
) -> str:  # fmt: skip
    """Draw one line per series over named places, with a vertical interval at each of its points.

    The label of a series is that of its first estimate.
    """
    columns = min(3, max(1, len(series)))
    top = 14 + 18.0 * math.ceil(len(series) / columns)
    canvas = Canvas(640, 310 + top, title)
    values = [v for line in series for e in line for v in (e.value, e.low, e.high) if v is not None]
    y = padded(values, canvas.height - 50, top)
    y_axis(canvas, y, y_label, left=70)
    slot = 540 / max(len(places), 1)
    base = canvas.height - 50
    canvas.line(70, base, 620, base, "axis")
    for number, place in enumerate(places):
        canvas.text(70 + (number + 0.5) * slot, base + 17, one_label(place), "middle")
    canvas.text(345, canvas.height - 8, x_label, "middle")
    for number, line in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * min(9.0, 0.6 * slot / max(len(series), 1))
        points = []
        for k, estimate in enumerate(line):
            if estimate.value is None:
                continue
            x = 70 + (k + 0.5) * slot + shift
            points.append((x, y(estimate.value), estimate))
        look = f'fill="none" stroke="{colour_of(number)}" stroke-width="2"'
        if number >= len(SHAPES):
            look += ' stroke-dasharray="6 3"'
        if len(points) > 1:
            canvas.path([(x, at) for x, at, _ in points], look)
        for x, at, estimate in points:
            if estimate.low is not None and estimate.high is not None:
                ends = [(x, y(estimate.low)), (x, y(estimate.high))]
                canvas.path(ends, f'stroke="{colour_of(number)}" stroke-width="1.5"')
            canvas.mark(x, at, number, _tip(estimate))
        column, row = number % columns, number // columns
        canvas.mark(80 + column * 185, 12 + row * 18, number, "")
        canvas.text(90 + column * 185, 16 + row * 18, texts.one_line(line[0].label, 24))
    return canvas.svg()


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    title: str,
    *,
    digits: int = 2,
    signed: bool = False,
) -> str:
    """Draw a matrix with its numbers; the darker, the larger: blue, or vermillion where ``signed``.

    ``signed``: blue below zero, vermillion above, the number's sign always written.
    """
    left = margin(rows)
    cell = max(46.0, min(96.0, (690 - left) / max(len(columns), 1)))
    longest = max((len(one_label(name)) for name in columns), default=0)
    slanted = longest * CHAR > cell - 4
    top = 14 + (longest * CHAR * 0.72 if slanted else 10)
    canvas = Canvas(
        left + cell * len(columns) + (60 if slanted else 6), top + 26 * len(rows) + 6, title
    )
    most = max((abs(v) for row in values for v in row if v is not None), default=0.0) or 1.0
    most = most if signed else max(most, 1.0)
    for k, name in enumerate(columns):
        x = left + (k + 0.5) * cell
        turn = f' transform="rotate(-45 {px(x)} {px(top - 6)})"' if slanted else ""
        canvas.text(x, top - 6, one_label(name), "start" if slanted else "middle", turn)
    for j, name in enumerate(rows):
        y = top + 26 * j
        canvas.text(left - 6, y + 17, one_label(name), "end")
        for k, value in enumerate(values[j]):
            x = left + k * cell
            if value is None:
                canvas.text(x + cell / 2, y + 17, "-", "middle")
                continue
            strength = min(1.0, abs(value) / most)
            colour = PALETTE[3] if signed and value > 0 else PALETTE[0]
            tip = f"{name}, {columns[k]}: {value:{'+' if signed else ''}.{digits + 1}f}"
            look = f'fill="{colour}" fill-opacity="{0.05 + 0.75 * strength:.2f}"'
            canvas.rect(x + 1, y + 1, cell - 2, 24, look, tip)
            written = f"{value:{'+' if signed else ''}.{digits}f}"
            canvas.text(x + cell / 2, y + 17, written, "middle")
    return canvas.svg()


def _whisker(canvas: Canvas, x: Scale, y: float, row: Estimate) -> None:
    assert row.value is not None
    look = f'stroke="{colour_of(row.colour)}" stroke-width="2.4" fill="none"'
    if row.low is not None and row.high is not None:
        canvas.path([(x(row.low), y), (x(row.high), y)], look)
        for end in (row.low, row.high):
            canvas.path([(x(end), y - 5), (x(end), y + 5)], look)
    canvas.mark(x(row.value), y, row.colour, _tip(row))


def _tip(row: Estimate) -> str:
    interval = "" if row.low is None else f" ({short(row.low)} to {short(row.high)})"
    return f"{row.label}: {short(row.value)}{interval}"
