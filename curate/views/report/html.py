"""A page as one HTML file: styles and charts inside, no script, nothing to fetch."""

from collections.abc import Iterator, Sequence
from typing import Final

from curate.prove.tones import SIGNS, tone_of
from curate.views.charts.canvas import STYLE as CHART_STYLE
from curate.views.charts.text import html as safe
from curate.views.report.page import (
    MADE_BY,
    Block,
    Cell,
    Chart,
    Charts,
    Code,
    Examples,
    Excerpt,
    Folded,
    Heading,
    Notices,
    Page,
    Paragraph,
    Section,
    Shown,
    Table,
    Tiles,
    Verdict,
)

# The browser is told to run nothing and to fetch nothing, whatever a text may have smuggled in.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_STYLE: Final = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#57606a;--line:#d8dee4;--card:#f6f8fa;
--warn:#fff4e0;--warnline:#e69f00;--note:#eaf4fb;--noteline:#0072b2;--mark:#fbe3d6;--markfg:#8a3b00;
--good:#d9f2e7;--goodfg:#04593b;--bad:#fbe3d6;--badfg:#8a3b00;--even:#e9edf1;--evenfg:#3f4852}
@media (prefers-color-scheme:dark){:root{--bg:#15181c;--fg:#e6e8ea;--soft:#a5adb5;--line:#353b42;
--card:#1e2329;--warn:#33270f;--note:#10283a;--mark:#4a2a17;--markfg:#ffc49b;--noteline:#56b4e9;
--good:#113a2b;--goodfg:#86e3bd;--bad:#4a2a17;--badfg:#ffc49b;--even:#2b323a;--evenfg:#c6ced6}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:27px;line-height:1.25;margin:0 0 4px}
h2{font-size:20px;margin:42px 0 10px;padding-top:12px;border-top:1px solid var(--line)}
h3{font-size:16px;margin:24px 0 6px}
h1,h2,h3,p,li,summary,dd{overflow-wrap:anywhere}
.lead{font-size:17px;line-height:1.5;margin:14px 0 4px;max-width:72ch}
ul.lead{padding-left:22px}
ul.lead li{margin:4px 0}
td{overflow-wrap:break-word}
td:not(.l){white-space:nowrap}
p{margin:8px 0;max-width:78ch}
.quiet,.sub,footer,figcaption{color:var(--soft);font-size:13.5px}
nav{margin:16px 0 0;font-size:14px;display:flex;flex-wrap:wrap;gap:4px 16px}
a{color:var(--noteline)}
dl.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:14px 0}
dl.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:8px 14px;min-width:110px}
dl.tiles dt{color:var(--soft);font-size:12.5px}
dl.tiles dd{margin:0;font-size:19px;font-variant-numeric:tabular-nums}
ul.notices{list-style:none;padding:0;margin:12px 0}
ul.notices li{border-left:4px solid var(--warnline);background:var(--warn);padding:7px 12px;
margin:6px 0;border-radius:0 6px 6px 0}
ul.notices li.note{border-color:var(--noteline);background:var(--note)}
.scroll{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;font-size:13.5px}
th,td{padding:4px 10px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;
font-variant-numeric:tabular-nums;max-width:440px}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
.l{text-align:left}
.v{display:inline-block;border-radius:9px;padding:0 9px;font-weight:600;white-space:nowrap}
.v-good{background:var(--good);color:var(--goodfg)}
.v-bad{background:var(--bad);color:var(--badfg)}
.v-even{background:var(--even);color:var(--evenfg);font-weight:400}
.v-open{border:1px dashed var(--soft);font-weight:400}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:10px 30px}
figure{margin:14px 0 8px}
figure h3{margin:0 0 4px;font-size:14.5px}
details{border:1px solid var(--line);border-radius:7px;margin:5px 0;background:var(--card)}
summary{cursor:pointer;padding:6px 12px;font-size:13.5px}
.not{border-style:dashed}
details>.in{padding:2px 14px 10px;border-top:1px solid var(--line)}
details.fold{background:none}
.facts{font-size:13px;color:var(--soft);font-variant-numeric:tabular-nums}
.facts{display:flex;flex-wrap:wrap;gap:2px 16px}
.facts span{overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:3px 0 8px;font:13px/1.5 ui-monospace,
Menlo,Consolas,monospace;background:var(--bg);border:1px solid var(--line);border-radius:6px;
padding:8px 10px;overflow:hidden;unicode-bidi:isolate}
.role{font-size:12px;color:var(--soft);margin-top:8px}
i.h{font:11px ui-monospace,Menlo,Consolas,monospace;background:var(--mark);color:var(--markfg);
border-radius:3px;padding:0 3px}
@media print{details{break-inside:avoid}nav{display:none}}
"""


def render(page: Page) -> str:
    """Return the whole file."""
    links = "".join(
        f'<a href="#s{number}">{safe(section.title)}</a>'
        for number, section in enumerate(page.sections)
    )
    sections = "".join(_section(number, section) for number, section in enumerate(page.sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{MADE_BY}">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{safe(page.title)}</title>\n<style>{_STYLE}{CHART_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{safe(page.title)}</h1>\n<p class=sub>{safe(page.subtitle)}</p>\n"
        f"{_lead(page.lead)}<nav>{links}</nav>\n{sections}<footer><p>{safe(page.footer)}</p></footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _lead(sentences: Sequence[str]) -> str:
    if len(sentences) < 2:
        return "".join(f"<p class=lead>{safe(sentence)}</p>\n" for sentence in sentences)
    items = "".join(f"<li>{safe(sentence)}</li>" for sentence in sentences)
    return f"<ul class=lead>{items}</ul>\n"


def _section(number: int, section: Section) -> str:
    blocks = "\n".join(block_html(block) for block in section.blocks)
    return f'<section id="s{number}">\n<h2>{safe(section.title)}</h2>\n{blocks}\n</section>\n'


def block_html(block: Block) -> str:
    """Return one block as HTML, every text in it escaped."""
    match block:
        case Paragraph(text, quiet):
            return f"<p{' class=quiet' if quiet else ''}>{safe(text)}</p>"
        case Heading(text):
            return f"<h3>{safe(text)}</h3>"
        case Tiles(items):
            tiles = (f"<div><dt>{safe(k)}</dt><dd>{safe(v)}</dd></div>" for k, v in items)
            return f"<dl class=tiles>{''.join(tiles)}</dl>"
        case Notices(items):
            rows = (
                f"<li{' class=note' if item.level == 'note' else ''}>{safe(item.text)}</li>"
                for item in items
            )
            return f"<ul class=notices>{''.join(rows)}</ul>"
        case Table():
            return _table(block)
        case Chart():
            return _chart(block)
        case Charts(items):
            return f"<div class=charts>{''.join(map(_chart, items))}</div>"
        case Examples():
            shown = "".join(map(_example, block.items))
            return f"<h3>{safe(block.title)}</h3><p class=quiet>{safe(block.note)}</p>{shown}"
        case Code(title, text):
            return (
                f"<details><summary>{safe(title)}</summary><div class=in>"
                f"<pre>\n{safe(text)}</pre></div></details>"
            )
        case Folded(title, blocks):
            return _folded(title, "\n".join(map(block_html, blocks)))


def _folded(title: str, inside: str) -> str:
    return (
        f"<details class=fold><summary>{safe(title)}</summary>"
        f"<div class=in>{inside}</div></details>"
    )


def _table(table: Table) -> str:
    head = "".join(
        f"<th{' class=l' if k < table.n_left else ''}>{safe(name)}</th>"
        for k, name in enumerate(table.columns)
    )
    rows = "".join(f"<tr>{''.join(_cells(row, table.n_left))}</tr>" for row in table.rows)
    title = f"<h3>{safe(table.title)}</h3>" if table.title else ""
    return (
        f"{title}<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(row: Sequence[Cell], n_left: int) -> Iterator[str]:
    for k, cell in enumerate(row):
        inside = verdict_html(cell.text) if isinstance(cell, Verdict) else safe(cell)
        yield f"<td{' class=l' if k < n_left else ''}>{inside}</td>"


def verdict_html(verdict: str) -> str:
    """Return a verdict in its colour, with a sign before it for readers who see none."""
    tone = tone_of(verdict)
    if tone is None:
        return safe(verdict)
    return f'<span class="v v-{tone}">{SIGNS[tone]} {safe(verdict)}</span>'


def _chart(chart: Chart) -> str:
    note = f"<figcaption>{safe(chart.note)}</figcaption>" if chart.note else ""
    numbers = chart.as_text
    below = _folded("Numbers", _table(numbers)) if isinstance(numbers, Table) else ""
    return f"<figure><h3>{safe(chart.title)}</h3>{chart.svg}{note}{below}</figure>"


def _example(example: Shown) -> str:
    facts = "".join(
        f"<span>{safe(name)} <b>{safe(value)}</b></span>" for name, value in example.facts
    )
    texts = "".join(
        f"<div class=role>{safe(text.role)}</div><pre dir=auto>\n{_excerpt(text)}</pre>"
        for text in example.texts
    )
    reason = f"<p class=quiet>{safe(example.reason)}</p>" if example.reason else ""
    return (
        f"<details{'' if example.is_kept else ' class=not'}><summary>{safe(example.title)}</summary>"
        f"<div class=in>{reason}<div class=facts>{facts}</div>{texts}</div></details>"
    )


def _excerpt(text: Excerpt) -> str:
    more = f"<i class=h>… {text.n_cut:,} characters cut …</i>" if text.n_cut else ""
    return f"{safe(text.head)}{more}{safe(text.tail)}"
