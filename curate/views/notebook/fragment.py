"""HTML that a notebook shows below a cell: styled, self-contained, every text escaped."""

from collections.abc import Sequence
from typing import Final

from curate.views.charts.canvas import STYLE as CHART_STYLE
from curate.views.charts.canvas import Canvas
from curate.views.charts.numbers import Bins
from curate.views.charts.text import html as safe
from curate.views.charts.text import one_line, plain

CELL_CHARS: Final = 110
# Colours come from the notebook's own theme, light or dark: only lines and shades are drawn on it.
_STYLE: Final = (
    ".curate{font:13.5px/1.45 system-ui,sans-serif;overflow-x:auto}"
    ".curate h4{font-size:14.5px;margin:8px 0 4px}.curate p{margin:4px 0;opacity:.75}"
    ".curate dl{display:flex;flex-wrap:wrap;gap:8px;margin:8px 0}"
    ".curate dl div{border:1px solid rgba(128,128,128,.45);border-radius:7px;padding:4px 11px}"
    ".curate dt{font-size:12px;opacity:.75;font-weight:400}"
    ".curate dd{margin:0;font-size:16px;font-variant-numeric:tabular-nums}"
    ".curate table{border-collapse:collapse;margin:6px 0;font-size:13px}"
    ".curate th,.curate td{padding:3px 9px;border-bottom:1px solid rgba(128,128,128,.3);"
    "text-align:right;vertical-align:top;font-variant-numeric:tabular-nums;max-width:420px}"
    ".curate .l{text-align:left;overflow-wrap:break-word;unicode-bidi:isolate}"
    ".curate .l:first-child{white-space:nowrap}"
    ".curate td svg.chart{display:block}"
    ".curate figure{margin:6px 0 12px}.curate figcaption{opacity:.75;max-width:75ch}"
    ".curate .side{display:flex;flex-wrap:wrap;gap:6px 28px}"
    ".curate .v{border-radius:8px;padding:0 7px}"
    ".curate .v-good{background:rgba(0,158,115,.25)}.curate .v-bad{background:rgba(213,94,0,.27)}"
    ".curate .v-even{background:rgba(128,128,128,.17)}.curate .v-open{border:1px dashed}"
    ".curate i.h{font:11px monospace;border:1px solid rgba(128,128,128,.6);border-radius:3px;"
    "padding:0 2px}"
)
Cell = str | tuple[str]
"""A text still to be escaped, or, in a tuple of one, HTML that is already safe."""


def fragment(*parts: str) -> str:
    """Return HTML parts as one styled block."""
    return f"<div class=curate><style>{_STYLE}{CHART_STYLE}</style>{''.join(parts)}</div>"


def heading(text: str, note: str = "") -> str:
    """Return a heading, and a quiet line below it."""
    return f"<h4>{safe(text)}</h4>{paragraph(note) if note else ''}"


def paragraph(text: str) -> str:
    """Return a quiet line."""
    return f"<p>{safe(text)}</p>"


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """Return a few facts side by side: label and value."""
    boxes = (f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in items)
    return f"<dl>{''.join(boxes)}</dl>"


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], numbers: Sequence[str] = ()
) -> str:
    """Return rows as a table; columns of ``numbers`` are right-aligned, and long texts are cut."""
    looks = ["" if name in numbers else " class=l" for name in columns]

    def cells(row: Sequence[Cell], tag: str) -> str:
        drawn = []
        for look, cell in zip(looks, row, strict=True):
            inside = cell[0] if isinstance(cell, tuple) else safe(one_line(cell, CELL_CHARS))
            drawn.append(f"<{tag}{look}>{inside}</{tag}>")
        return f"<tr>{''.join(drawn)}</tr>"

    body = "".join(cells(row, "td") for row in rows)
    return f"<table><thead>{cells(columns, 'th')}</thead><tbody>{body}</tbody></table>"


def figure(title: str, drawing: str, note: str = "") -> str:
    """Return a chart under its title, with its note below."""
    below = f"<figcaption>{safe(note)}</figcaption>" if note else ""
    return f"<figure><h4>{safe(title)}</h4>{drawing}{below}</figure>"


def side_by_side(parts: Sequence[str]) -> str:
    """Return parts side by side, if there is room."""
    return f"<div class=side>{''.join(parts)}</div>"


def spark(bins: Bins, name: str) -> str:
    """Return a histogram as small as a word."""
    canvas = Canvas(132, 26, f"Distribution of {name}")
    most = max(int(bins.counts.max(initial=0)), 1)
    wide = 132 / len(bins.counts)
    for k, n in enumerate(bins.counts.tolist()):
        high = 24 * n / most
        if n:
            canvas.rect(k * wide, 25 - high, max(wide - 0.4, 0.6), high, 'fill="#0072b2"')
    canvas.line(0, 25.5, 132, 25.5, "axis")
    return canvas.svg()


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int = 34) -> str:
    """Return rows as plain text in columns, hidden characters named and long texts cut."""
    shown = [[plain(one_line(cell, width)) for cell in row] for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in shown)
    return "\n".join(line.rstrip() for line in lines)
