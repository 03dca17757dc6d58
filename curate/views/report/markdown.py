"""A page as Markdown: the same content, charts as numbers or a line of text."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from curate.prove.tones import SIGNS, tone_of
from curate.views.charts.text import fenced, one_line, plain
from curate.views.charts.text import markdown as safe
from curate.views.report.page import (
    MADE_BY,
    Block,
    Cell,
    Chart,
    Charts,
    Code,
    Examples,
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

TITLE_CHARS: Final = 200


def render(page: Page) -> str:
    """Return the whole file."""
    mark = "" if len(page.lead) < 2 else "- "
    lead = "\n".join(f"{mark}{safe(sentence)}" for sentence in page.lead)
    parts = [f"# {safe(page.title)}", safe(page.subtitle), lead]
    for section in page.sections:
        parts += _section(section)
    return (
        "\n\n".join(part for part in [*parts, safe(page.footer)] if part)
        + f"\n\n<!-- {MADE_BY} -->\n"
    )


def _section(section: Section) -> Iterator[str]:
    yield f"## {safe(section.title)}"
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield safe(text)
        case Heading(text):
            yield f"### {safe(text)}"
        case Tiles(items):
            yield _table((), ("", ""), items)
        case Notices(items):
            yield "\n".join(
                f"- {'Note' if notice.level == 'note' else '**Warning**'}: {safe(notice.text)}"
                for notice in items
            )
        case Table(columns, rows, n_left, title):
            if title:
                yield f"### {safe(title)}"
            yield _table(columns[n_left:], columns, rows)
        case Chart():
            yield from _chart(block)
        case Charts(items):
            for chart in items:
                yield from _chart(chart)
        case Examples(title, note, shown):
            yield f"### {safe(title)}"
            yield safe(note)
            for example in shown:
                yield from _example(example)
        case Code(title, text):
            yield from _folded(title, [fenced(text)])
        case Folded(title, blocks, open_as_text):
            parts = [part for inner in blocks for part in _block(inner)]
            yield from parts if open_as_text else _folded(title, parts)


def _folded(title: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield parts under a collapsible title; the attribute lets the documentation site read them."""
    named = escape(plain(one_line(title, TITLE_CHARS)), quote=False)
    yield f'<details markdown="1">\n<summary>{named}</summary>'
    yield from parts
    yield "</details>"


def _chart(chart: Chart) -> Iterator[str]:
    if not chart.as_text:
        return
    yield f"### {safe(chart.title)}"
    if isinstance(chart.as_text, Table):
        yield from _block(chart.as_text)
    else:
        yield f"    {chart.as_text}"
    if chart.note:
        yield safe(chart.note)


def _example(example: Shown) -> Iterator[str]:
    yield f"#### {safe(example.title)}"
    if example.reason:
        yield safe(example.reason)
    if example.facts:
        yield ", ".join(f"{safe(name)} {safe(value)}" for name, value in example.facts)
    for text in example.texts:
        more = f"\n… {text.n_cut:,} characters cut …\n" if text.n_cut else ""
        yield f"{safe(text.role)}:"
        yield fenced(f"{text.head}{more}{text.tail}")


def _table(numbers: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    left = len(columns) - len(numbers)
    lines = ["| " + " | ".join(map(safe, columns)) + " |"]
    lines.append("|" + "---|" * left + "---:|" * len(numbers))
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    if not isinstance(cell, Verdict):
        return safe(cell)
    tone = tone_of(cell.text)
    return safe(cell.text) if tone is None else f"{SIGNS[tone]} {safe(cell.text)}"
