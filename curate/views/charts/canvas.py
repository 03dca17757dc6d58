"""Drawing primitives of every chart: elements collected into one SVG, scales, axes, legends, colours.

The palette is that of Okabe and Ito, which readers with any common colour blindness can tell apart;
series also differ in shape or outline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from curate.views.charts import text as texts
from curate.views.charts.numbers import tick_text, ticks

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
CHAR: Final = 6.4  # width of an average character of 12 pixels' height
SHAPES: Final = ("circle", "square", "triangle", "diamond")


@final
class Canvas:
    """Collects elements; coordinates are pixels of the view box, rounded to a tenth."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self._title = width, height, title
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """Draw a line; ``css`` names its look."""
        self._parts.append(
            f'<line class="{css}" x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}"/>'
        )

    def text(self, x: float, y: float, text: str, anchor: str = "start", more: str = "") -> None:
        """Write one line, cut and escaped."""
        safe = texts.svg(text, 120)
        self._parts.append(
            f'<text x="{px(x)}" y="{px(y)}" text-anchor="{anchor}"{more}>{safe}</text>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, look: str, tip: str = ""
    ) -> None:
        """Draw a rectangle."""
        inside = f"<title>{texts.svg(tip, 200)}</title>" if tip else ""
        self._parts.append(
            f'<rect x="{px(x)}" y="{px(y)}" width="{px(max(width, 0))}" '
            f'height="{px(max(height, 0))}" {look}>{inside}</rect>'
        )

    def path(self, points: Sequence[tuple[float, float]], look: str, tip: str = "") -> None:
        """Draw a line through points."""
        inside = f"<title>{texts.svg(tip, 200)}</title>" if tip else ""
        d = "M" + "L".join(f"{px(x)} {px(y)}" for x, y in points)
        self._parts.append(f'<path d="{d}" {look}>{inside}</path>')

    def mark(self, x: float, y: float, number: int, tip: str) -> None:
        """Draw a point in the colour and the shape of a series."""
        r, look = 4.5, f'fill="{colour_of(number)}" stroke="currentColor" stroke-width=".5"'
        corners = {
            "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
            "triangle": [(0, -r - 1), (r + 1, r), (-r - 1, r)],
            "diamond": [(0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)],
        }.get(SHAPES[number % len(SHAPES)])
        if corners is None:
            turns = [math.pi * k / 8 for k in range(16)]
            corners = [(r * math.cos(t), r * math.sin(t)) for t in turns]
        self.path([(x + dx, y + dy) for dx, dy in corners], look, tip)

    def dot(self, x: float, y: float, r: float, number: int, look: str, tip: str = "") -> None:
        """Draw a small point in the shape of a category; a cheaper `mark`."""
        inside = f"<title>{texts.svg(tip, 200)}</title>" if tip else ""
        shape = SHAPES[number % len(SHAPES)]
        if shape == "circle":
            self._parts.append(
                f'<circle cx="{px(x)}" cy="{px(y)}" r="{px(r)}" {look}>{inside}</circle>'
            )
        elif shape == "square":
            self.rect(x - r, y - r, 2 * r, 2 * r, look, tip)
        else:
            low = [(x + r, y + r), (x - r, y + r)]
            corners = low if shape == "triangle" else [(x + r, y), (x, y + r), (x - r, y)]
            self.path([(x, y - r), *corners, (x, y - r)], look, tip)

    def svg(self) -> str:
        """Return the chart."""
        label = texts.svg(self._title, 200)
        return (
            f'<svg class="chart" role="img" aria-label="{label}" width="{px(self.width)}" '
            f'height="{px(self.height)}" viewBox="0 0 {px(self.width)} {px(self.height)}">'
            f"{''.join(self._parts)}</svg>"
        )


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def one_label(text: str) -> str:
    """Cut a label to fit a chart."""
    return texts.one_line(text, LABEL_CHARS)


def padded(values: Sequence[float], start: float, end: float) -> Scale:
    """Return a scale over values with a little room on both sides."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - pad, high + pad, start, end)


def margin(labels: Sequence[str]) -> float:
    """Return how much room labels beside a chart need, in pixels."""
    return 14 + CHAR * max((len(one_label(label)) for label in labels), default=0)


def x_axis(canvas: Canvas, x: Scale, y: float, label: str, grid_top: float | None = None) -> None:
    """Draw the axis below a chart, at height ``y``, with grid lines up to ``grid_top``."""
    marks = ticks(x.low, x.high, max(2, min(6, int((x.end - x.start) / 60))))
    canvas.line(x.start, y, x.end, y, "axis")
    for value, written in zip(marks, tick_text(marks), strict=True):
        at = x(value)
        canvas.line(at, y if grid_top is None else grid_top, at, y + 4, "grid")
        canvas.text(at, y + 17, written, "middle")
    canvas.text((x.start + x.end) / 2, y + 36, label, "middle")


def y_axis(
    canvas: Canvas, y: Scale, label: str, left: float = 52, right: float | None = None, n: int = 4
) -> None:
    """Draw the axis to the left of a chart, with about ``n`` grid lines across it, up to ``right``."""
    marks = ticks(y.low, y.high, n)
    right = canvas.width - (10 if left == 52 else 20) if right is None else right
    for value, written in zip(marks, tick_text(marks), strict=True):
        canvas.line(left, y(value), right, y(value), "grid")
        canvas.text(left - 6, y(value) + 4, written, "end")
    middle = (y.start + y.end) / 2
    canvas.text(12, middle, label, "middle", f' transform="rotate(-90 12 {px(middle)})"')


def legend(canvas: Canvas, entries: Sequence[tuple[str, str]]) -> None:
    """Draw names with their colours above a chart."""
    x = 56.0
    for name, colour in entries:
        shown = texts.one_line(name, 28)
        canvas.rect(x, 5, 12, 12, f'fill="{colour}"')
        canvas.text(x + 17, 15, shown)
        x += 17 + CHAR * len(shown) + 22


def colour_of(number: int) -> str:
    """Return the colour of a series."""
    return PALETTE[number % len(PALETTE)]


def px(value: float) -> str:
    """Write a length in pixels."""
    return f"{value:.1f}".removesuffix(".0")
