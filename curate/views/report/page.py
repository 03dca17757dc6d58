"""The parts of a page, before HTML or Markdown. Every text here is raw, not yet escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

MADE_BY: Final = "made by curate"  # every page holds it: a page that does is replaced unasked

Level = Literal["warning", "note"]


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """A cell of a table that holds the verdict of a proof, which is drawn in its colour."""

    text: str


Cell: TypeAlias = str | Verdict


@final
@dataclass(frozen=True, slots=True)
class Warned:
    """One thing a reader should know: ``kind`` is a name for scripts."""

    kind: str
    text: str
    level: Level = "warning"


@final
@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; a quiet one explains how something was computed."""

    text: str
    quiet: bool = False


@final
@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a section."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class Tiles:
    """A few facts side by side: label and value."""

    items: Sequence[tuple[str, str]]


@final
@dataclass(frozen=True, slots=True)
class Notices:
    """Warnings, the most serious first."""

    items: Sequence[Warned]


@final
@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; all columns but the first ``n_left`` are numbers, right-aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    n_left: int = 1
    title: str = ""


@final
@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG that is already escaped, and the same as text or a table.

    Markdown shows ``as_text`` in its place, HTML a table below it, folded. "" where what follows
    says the same.
    """

    title: str
    svg: str
    as_text: str | Table
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class Charts:
    """Charts side by side."""

    items: Sequence[Chart]


@final
@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text under its role: its beginning and, where characters were cut, its end."""

    role: str
    head: str
    n_cut: int = 0
    tail: str = ""


@final
@dataclass(frozen=True, slots=True)
class Shown:
    """One example: a title, facts, why it was kept or not, and its texts."""

    title: str
    facts: Sequence[tuple[str, str]]
    reason: str
    texts: Sequence[Excerpt]
    is_kept: bool = True


@final
@dataclass(frozen=True, slots=True)
class Examples:
    """A list of collapsible examples."""

    title: str
    note: str
    items: Sequence[Shown]


@final
@dataclass(frozen=True, slots=True)
class Code:
    """A preformatted text under a collapsible title."""

    title: str
    text: str


@final
@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks under a collapsible title: what repeats, as numbers or for another budget.

    Those that Markdown, which has no charts, says only here are ``open_as_text``.
    """

    title: str
    blocks: "Sequence[Block]"
    open_as_text: bool = False


Block: TypeAlias = (
    Heading | Paragraph | Tiles | Notices | Table | Chart | Charts | Examples | Code | Folded
)


@final
@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page."""

    title: str
    blocks: Sequence[Block]


@final
@dataclass(frozen=True, slots=True)
class Page:
    """A whole page; ``lead`` says in plain sentences what it comes to."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str = ""
    lead: Sequence[str] = ()
