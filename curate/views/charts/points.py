"""A scatter plot of two numbers per example: points, or groups of them if there are many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from curate.views.charts.canvas import GREY, PALETTE, SHAPES, Canvas, Scale, x_axis, y_axis
from curate.views.charts.numbers import Values, bin_edges, short
from curate.views.charts.text import one_line

Integers = np.ndarray[Any, np.dtype[np.int64]]

MAX_POINTS: Final = 1_500
MAX_KINDS: Final = 7
OTHER: Final = "other"
_COLUMNS: Final = 64
_ROWS: Final = 44
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 584.0, 12.0, 366.0
_LEGEND: Final = 600.0
_NAME_CHARS: Final = 20
_SQUARE: Final = SHAPES.index("square")
# From dark blue over grey to yellow: lightness grows all the way, for every kind of colour vision.
_RAMP: Final = ((0, 34, 78), (53, 69, 108), (112, 113, 115), (165, 156, 116), (222, 203, 90))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """A category for each point: codes into names; -1 is ``rest``, which is grey and lies below."""

    label: str
    codes: Integers
    names: Sequence[str]
    rest: str = OTHER


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ramp:
    """A number for each point, shown from dark blue to yellow between its 5% and 95% quantiles.

    ``span`` says from which number to which instead.
    """

    label: str
    values: Values
    span: tuple[float, float] | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """What to draw.

    Parameters
    ----------
    x, y
        Finite, (n,) each.
    colour
        Of each point, or None for one colour.
    tips
        Tooltip of each point; empty to show only its numbers.
    """

    x: Values
    y: Values
    x_label: str
    y_label: str
    colour: Kinds | Ramp | None = None
    tips: Sequence[str] = ()


def kinds(label: str, values: Sequence[str]) -> Kinds:
    """Return the categories of points by name; those beyond the seven most frequent are joined."""
    import pyarrow as pa

    encoded = pa.array(values, pa.string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy()
    counts = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda k: (-counts[k], names[k]))[:MAX_KINDS]
    place = np.full(len(names), -1)
    place[order] = np.arange(len(order))
    return Kinds(label, place[codes], [names[k] for k in order])


def scatter(points: Points, title: str) -> tuple[str, str]:
    """Draw points, or squares over groups of them beyond 1,500; return the picture and its caption.

    A square is larger where there are more examples; its colour is their mean, or the most frequent
    of their categories. A long tail beyond 0.5% of the values is left out, and counted.
    """
    x_low, *_, x_high = bin_edges(points.x).tolist()
    y_low, *_, y_high = bin_edges(points.y).tolist()
    inside = (points.x >= x_low) & (points.x <= x_high) & (points.y >= y_low) & (points.y <= y_high)
    canvas = Canvas(770 if points.colour is not None else 600, 416, title)
    x, y = _roomy(x_low, x_high, _LEFT, _RIGHT), _roomy(y_low, y_high, _BOTTOM, _TOP)
    y_axis(canvas, y, points.y_label, _LEFT, _RIGHT, n=7)
    x_axis(canvas, x, _BOTTOM, points.x_label, grid_top=_TOP)
    paint = _Paint(points.colour)
    n, n_out = len(points.x), int((~inside).sum())
    remarks = [f"{n_out:,} of {n:,} examples are outside the chart."] if n_out else []
    if n <= MAX_POINTS:
        _draw_points(canvas, points, np.flatnonzero(inside), x, y, paint)
    else:
        n_squares = _draw_squares(canvas, points, np.flatnonzero(inside), x, y, paint)
        colour = "" if points.colour is None else f"; its colour is {paint.summary}"
        remarks.insert(
            0,
            f"{n:,} examples in {n_squares:,} squares: larger squares stand for more "
            f"examples{colour}.",
        )
    paint.legend(canvas, in_squares=n > MAX_POINTS)
    return canvas.svg(), " ".join(remarks)


@final
class _Paint:
    """Chooses the colour of points, and explains it beside the picture."""

    def __init__(self, colour: Kinds | Ramp | None) -> None:
        self.colour = colour
        if isinstance(colour, Ramp):
            low, high = np.quantile(colour.values, [0.05, 0.95]).tolist()
            self.low, self.high = colour.span or (float(low), float(high))
            self.clipped = (
                bool((colour.values < self.low).any()), bool((colour.values > self.high).any())
            )  # fmt: skip

    @property
    def summary(self) -> str:
        """What the colour of a group of examples means."""
        return "their mean" if isinstance(self.colour, Ramp) else "their most frequent kind"

    def look(self, rows: Integers) -> tuple[int, str, str]:
        """Return shape, colour and words for some points together."""
        if isinstance(self.colour, Ramp):
            value = float(self.colour.values[rows].mean())
            return 0, self.ramp(value), f"{self.colour.label} {short(value)}"
        if self.colour is None:
            return 0, PALETTE[0], ""
        codes = self.colour.codes[rows]
        counts = np.bincount(codes + 1, minlength=len(self.colour.names) + 1)
        code = int(counts.argmax()) - 1
        name = self.name(code)
        share = f" ({counts.max() / len(rows):.0%})" if len(rows) > 1 else ""
        return max(code, 0), self.fill(code), f"{name}{share}"

    def name(self, code: int) -> str:
        """Return the name of a category."""
        assert isinstance(self.colour, Kinds)
        return self.colour.rest if code < 0 else self.colour.names[code]

    def fill(self, code: int) -> str:
        """Return the colour of a category."""
        return GREY if code < 0 else PALETTE[code % len(PALETTE)]

    def ramp(self, value: float) -> str:
        """Return the colour of a number."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        at = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
        k = min(int(at), len(_RAMP) - 2)
        mixed = (a + (at - k) * (b - a) for a, b in zip(_RAMP[k], _RAMP[k + 1], strict=True))
        return "#" + "".join(f"{round(channel):02x}" for channel in mixed)

    def legend(self, canvas: Canvas, *, in_squares: bool) -> None:
        """Explain the colours, and the shapes of single points, to the right of the picture."""
        if self.colour is None:
            return
        canvas.text(_LEGEND, _TOP + 10, one_line(self.colour.label, 25))
        if isinstance(self.colour, Ramp):
            self._bar(canvas)
            return
        shown = list(range(len(self.colour.names)))
        shown += [-1] if (self.colour.codes < 0).any() else []
        counts = np.bincount(self.colour.codes + 1, minlength=len(self.colour.names) + 1)
        for row, code in enumerate(shown):
            at = _TOP + 32 + 20 * row
            shape = _SQUARE if in_squares else max(code, 0)
            canvas.dot(_LEGEND + 6, at - 4, 5, shape, f'fill="{self.fill(code)}"')
            name = one_line(self.name(code), _NAME_CHARS - 6)
            canvas.text(_LEGEND + 18, at, f"{name} ({int(counts[code + 1]):,})")

    def _bar(self, canvas: Canvas) -> None:
        top, height, steps = _TOP + 24, 180.0, 45
        for step in range(steps):
            value = self.high - (step + 0.5) / steps * (self.high - self.low)
            look = f'fill="{self.ramp(value)}"'
            canvas.rect(_LEGEND, top + step * height / steps, 16, height / steps + 0.3, look)
        ends = ((0.0, self.high), (0.5, (self.high + self.low) / 2), (1.0, self.low))
        for share, value in ends:
            beyond = {0.0: "≥ " * self.clipped[1], 1.0: "≤ " * self.clipped[0]}.get(share, "")
            canvas.text(_LEGEND + 23, top + share * height + 4, f"{beyond}{short(value)}")


def _draw_points(
    canvas: Canvas, points: Points, rows: Integers, x: Scale, y: Scale, paint: _Paint
) -> None:
    if isinstance(points.colour, Kinds):
        rows = rows[np.argsort(points.colour.codes[rows] >= 0, kind="stable")]
    for row in rows.tolist():
        shape, fill, words = paint.look(np.array([row]))
        tip = points.tips[row] if points.tips else ""
        numbers = f"{short(float(points.x[row]))}, {short(float(points.y[row]))}"
        said = " · ".join(filter(None, (tip, words, numbers)))
        look = f'fill="{fill}" fill-opacity=".75"'
        canvas.dot(x(float(points.x[row])), y(float(points.y[row])), 3.2, shape, look, said)


def _draw_squares(
    canvas: Canvas, points: Points, rows: Integers, x: Scale, y: Scale, paint: _Paint
) -> int:
    """Draw one square for each cell of a grid with examples in it; return how many."""
    wide, high = (x.end - x.start) / _COLUMNS, (y.start - y.end) / _ROWS
    column = ((points.x[rows] - x.low) / (x.high - x.low) * _COLUMNS).astype(np.int64)
    line = ((points.y[rows] - y.low) / (y.high - y.low) * _ROWS).astype(np.int64)
    cells = np.minimum(line, _ROWS - 1) * _COLUMNS + np.minimum(column, _COLUMNS - 1)
    order = np.argsort(cells, kind="stable")
    occupied, starts = np.unique(cells[order], return_index=True)
    groups = np.split(rows[order], starts[1:])
    most = max((len(group) for group in groups), default=1)
    for cell, group in zip(occupied.tolist(), groups, strict=True):
        _, fill, words = paint.look(group)
        side = (0.3 + 0.7 * np.sqrt(len(group) / most)) * min(wide, high)
        left = x.start + (cell % _COLUMNS + 0.5) * wide - side / 2
        top = y.start - (cell // _COLUMNS + 0.5) * high - side / 2
        tip = f"{len(group):,} example{'s' if len(group) > 1 else ''}"
        canvas.rect(left, top, side, side, f'fill="{fill}"', " · ".join(filter(None, (tip, words))))
    return len(occupied)


def _roomy(low: float, high: float, start: float, end: float) -> Scale:
    room = 0.02 * (high - low) or 0.5
    return Scale(low - room, high + room, start, end)
