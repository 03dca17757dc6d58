"""Charts as static SVG: no script, no font, no file beside it; colours follow the page's theme.

The palette is that of Okabe and Ito, which readers with any common colour blindness can tell apart;
series also differ in shape or outline. Every mark has its numbers in a tooltip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from curate.report import text as texts
from curate.report.numbers import short, tick_text, ticks

# Blue, orange, bluish green, vermillion, sky blue, reddish purple, the text's colour, and yellow,
# which is pale on white, last.
PALETTE: Final = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "currentColor", "#f0e442",
)  # fmt: skip
GREY: Final = "#8c8c8c"
STYLE: Final = (
    "svg.chart{max-width:100%;height:auto;font:12px system-ui,sans-serif;overflow:visible}"
    "svg.chart text{fill:currentColor}svg.chart .soft{opacity:.75}"
    "svg.chart .axis{stroke:currentColor;opacity:.55}svg.chart .grid{stroke:currentColor;opacity:.13}"
)
LABEL_CHARS: Final = 34
_CHAR: Final = 6.4  # width of an average character of 12 pixels' height
_ROW: Final = 24.0
_SHAPES: Final = ("circle", "square", "triangle", "diamond")


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


@final
class _Canvas:
    """Collects elements; coordinates are pixels of the view box, rounded to a tenth."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self._title = width, height, title
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self._parts.append(
            f'<line class="{css}" x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}"/>'
        )

    def text(self, x: float, y: float, text: str, anchor: str = "start", more: str = "") -> None:
        safe = texts.svg(text, 120)
        self._parts.append(
            f'<text x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}"{more}>{safe}</text>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, look: str, tip: str = ""
    ) -> None:
        inside = f"<title>{texts.svg(tip, 200)}</title>" if tip else ""
        self._parts.append(
            f'<rect x="{_px(x)}" y="{_px(y)}" width="{_px(max(width, 0))}" '
            f'height="{_px(max(height, 0))}" {look}>{inside}</rect>'
        )

    def path(self, points: Sequence[tuple[float, float]], look: str, tip: str = "") -> None:
        inside = f"<title>{texts.svg(tip, 200)}</title>" if tip else ""
        d = "M" + "L".join(f"{_px(x)} {_px(y)}" for x, y in points)
        self._parts.append(f'<path d="{d}" {look}>{inside}</path>')

    def mark(self, x: float, y: float, number: int, tip: str) -> None:
        """Draw a point in the colour and the shape of a series."""
        r, look = 4.5, f'fill="{_colour(number)}" stroke="currentColor" stroke-width=".5"'
        corners = {
            "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
            "triangle": [(0, -r - 1), (r + 1, r), (-r - 1, r)],
            "diamond": [(0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)],
        }.get(_SHAPES[number % len(_SHAPES)])
        if corners is None:
            turns = [math.pi * k / 8 for k in range(16)]
            corners = [(r * math.cos(t), r * math.sin(t)) for t in turns]
        self.path([(x + dx, y + dy) for dx, dy in corners], look, tip)

    def svg(self) -> str:
        label = texts.svg(self._title, 200)
        return (
            f'<svg class="chart" role="img" aria-label="{label}" width="{_px(self.width)}" '
            f'height="{_px(self.height)}" viewBox="0 0 {_px(self.width)} {_px(self.height)}">'
            f"{''.join(self._parts)}</svg>"
        )


@final
@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def histogram(
    edges: Sequence[float], series: Sequence[Series], x_label: str, title: str, y_label: str
) -> str:
    """Draw bins between edges; a second series is an outline over the first one's bars."""
    canvas = _Canvas(460, 250 if len(series) > 1 else 230, title)
    top = 30.0 if len(series) > 1 else 10.0
    x = _Scale(edges[0], edges[-1], 52, 450)
    highest = max((v for one in series for v in one.values if v is not None), default=0.0)
    y = _Scale(0, highest or 1.0, canvas.height - 46, top)
    _y_axis(canvas, y, y_label)
    _x_axis(canvas, x, y(0), x_label)
    for number, one in enumerate(series):
        colour = GREY if number == 0 and len(series) > 1 else _colour(number and number - 1)
        values = [value or 0.0 for value in one.values]
        if number:
            outline = [(x(edges[0]), y(0))]
            for left, right, value in zip(edges, edges[1:], values, strict=False):
                outline += [(x(left), y(value)), (x(right), y(value))]
            outline.append((x(edges[-1]), y(0)))
            canvas.path(outline, f'fill="none" stroke="{colour}" stroke-width="2.2"')
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
        _legend(
            canvas, [(one.name, GREY if not k else _colour(k - 1)) for k, one in enumerate(series)]
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
    left = _margin(labels)
    top = 26.0 if len(series) > 1 else 6.0
    height = top + len(labels) * (thick * len(series) + 8) + 42
    canvas = _Canvas(width, height, title)
    known = [v for one in series for v in one.values if v is not None]
    x = _Scale(min(0.0, *known, 0.0), max(0.0, *known, 0.0) or 1.0, left, width - 60)
    bottom = height - 42
    _x_axis(canvas, x, bottom, x_label, grid_top=top)
    for row, label in enumerate(labels):
        start = top + row * (thick * len(series) + 8) + 4
        canvas.text(left - 6, start + thick * len(series) / 2 + 4, one_label(label), "end")
        for number, one in enumerate(series):
            value = one.values[row]
            if value is None:
                continue
            at = start + number * thick
            edge, origin = x(value), x(0)
            colour = GREY if number == 0 and len(series) > 1 else _colour(number and number - 1)
            canvas.rect(
                min(edge, origin), at, abs(edge - origin), thick - 2, f'fill="{colour}"',
                f"{label}, {one.name}: {value:,.{digits}f}",
            )  # fmt: skip
            canvas.text(max(edge, origin) + 4, at + thick - 5, f"{value:,.{digits}f}")
    if len(series) > 1:
        _legend(
            canvas, [(one.name, GREY if not k else _colour(k - 1)) for k, one in enumerate(series)]
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
    left = _margin([row.label for row in rows])
    height = 12 + len(rows) * _ROW + 44
    canvas = _Canvas(width, height, title)
    remarks = _margin([row.remark for row in rows]) if any(row.remark for row in rows) else 12
    found = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    found += [] if reference is None else [reference]
    x = _padded(found, left, width - remarks)
    bottom = height - 44
    _x_axis(canvas, x, bottom, x_label, grid_top=8)
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
    canvas = _Canvas(640, 310 + top, title)
    found = [v for one in series for e in one for v in (e.value, e.low, e.high) if v is not None]
    y = _padded(found, canvas.height - 50, top)
    _y_axis(canvas, y, y_label, left=70)
    slot = 540 / max(len(places), 1)
    base = canvas.height - 50
    canvas.line(70, base, 620, base, "axis")
    for number, place in enumerate(places):
        canvas.text(70 + (number + 0.5) * slot, base + 17, one_label(place), "middle")
    canvas.text(345, canvas.height - 8, x_label, "middle")
    for number, one in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * min(9.0, 0.6 * slot / max(len(series), 1))
        points = []
        for k, estimate in enumerate(one):
            if estimate.value is None:
                continue
            x = 70 + (k + 0.5) * slot + shift
            points.append((x, y(estimate.value), estimate))
        look = f'fill="none" stroke="{_colour(number)}" stroke-width="2"'
        if number >= len(_SHAPES):
            look += ' stroke-dasharray="6 3"'
        if len(points) > 1:
            canvas.path([(x, at) for x, at, _ in points], look)
        for x, at, estimate in points:
            if estimate.low is not None and estimate.high is not None:
                ends = [(x, y(estimate.low)), (x, y(estimate.high))]
                canvas.path(ends, f'stroke="{_colour(number)}" stroke-width="1.5"')
            canvas.mark(x, at, number, _tip(estimate))
        column, row = number % columns, number // columns
        canvas.mark(80 + column * 185, 12 + row * 18, number, "")
        canvas.text(90 + column * 185, 16 + row * 18, texts.one_line(one[0].label, 24))
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
    left = _margin(rows)
    cell = max(46.0, min(96.0, (690 - left) / max(len(columns), 1)))
    longest = max((len(one_label(name)) for name in columns), default=0)
    slanted = longest * _CHAR > cell - 4
    top = 14 + (longest * _CHAR * 0.72 if slanted else 10)
    canvas = _Canvas(
        left + cell * len(columns) + (60 if slanted else 6), top + 26 * len(rows) + 6, title
    )
    most = max((abs(v) for row in values for v in row if v is not None), default=0.0) or 1.0
    most = most if signed else max(most, 1.0)
    for k, name in enumerate(columns):
        x = left + (k + 0.5) * cell
        turn = f' transform="rotate(-45 {_px(x)} {_px(top - 6)})"' if slanted else ""
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


def one_label(text: str) -> str:
    """Cut a label to what a chart has room for."""
    return texts.one_line(text, LABEL_CHARS)


def _whisker(canvas: _Canvas, x: _Scale, y: float, row: Estimate) -> None:
    assert row.value is not None
    look = f'stroke="{_colour(row.colour)}" stroke-width="2.4" fill="none"'
    if row.low is not None and row.high is not None:
        canvas.path([(x(row.low), y), (x(row.high), y)], look)
        for end in (row.low, row.high):
            canvas.path([(x(end), y - 5), (x(end), y + 5)], look)
    canvas.mark(x(row.value), y, row.colour, _tip(row))


def _tip(row: Estimate) -> str:
    interval = "" if row.low is None else f" ({short(row.low)} to {short(row.high)})"
    return f"{row.label}: {short(row.value)}{interval}"


def _padded(found: Sequence[float], start: float, end: float) -> _Scale:
    low, high = min(found, default=0.0), max(found, default=1.0)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return _Scale(low - pad, high + pad, start, end)


def _margin(labels: Sequence[str]) -> float:
    return 14 + _CHAR * max((len(one_label(label)) for label in labels), default=0)


def _x_axis(
    canvas: _Canvas, x: _Scale, y: float, label: str, grid_top: float | None = None
) -> None:
    found = ticks(x.low, x.high, max(2, min(6, int((x.end - x.start) / 60))))
    canvas.line(x.start, y, x.end, y, "axis")
    for value, written in zip(found, tick_text(found), strict=True):
        at = x(value)
        canvas.line(at, y if grid_top is None else grid_top, at, y + 4, "grid")
        canvas.text(at, y + 17, written, "middle")
    canvas.text((x.start + x.end) / 2, y + 36, label, "middle")


def _y_axis(canvas: _Canvas, y: _Scale, label: str, left: float = 52) -> None:
    found = ticks(y.low, y.high, 4)
    right = canvas.width - (10 if left == 52 else 20)
    for value, written in zip(found, tick_text(found), strict=True):
        canvas.line(left, y(value), right, y(value), "grid")
        canvas.text(left - 6, y(value) + 4, written, "end")
    middle = (y.start + y.end) / 2
    canvas.text(12, middle, label, "middle", f' transform="rotate(-90 12 {_px(middle)})"')


def _legend(canvas: _Canvas, entries: Sequence[tuple[str, str]]) -> None:
    x = 56.0
    for name, colour in entries:
        shown = texts.one_line(name, 28)
        canvas.rect(x, 5, 12, 12, f'fill="{colour}"')
        canvas.text(x + 17, 15, shown)
        x += 17 + _CHAR * len(shown) + 22


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
