"""Docstrings as Markdown, and tables."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from curate import registry

ROOT: Final = Path(__file__).resolve().parents[2]
GENERATED: Final = "<!-- Written by `make docs`; change the docstring instead. -->\n\n"
_MARKUP: Final = re.compile(r"``(.+?)``|`([^`]+)`|\[(\d+)\]_", re.DOTALL)
_LIST: Final = re.compile(r"^- ", re.MULTILINE)


def markdown(text: str, *, methods: str, scorers: str, reports: str, own: str | None = None) -> str:
    """Return a docstring's text as Markdown with links.

    ``methods``, ``scorers`` and ``reports`` lead to the folder, the page and the folder of each from
    the page the text is for; ``own`` is the name of the page's method, which is not linked, and whose
    references are at its end. Elsewhere marks of references are left out.
    """

    def one(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        if code is None:
            return f"[\\[{match[3]}\\]](#references)" if own else ""
        name = code.strip()
        shown = f"`{' '.join(code.split())}`"
        if name.startswith("reports/") and name.endswith(".md"):
            return f"[{shown}]({reports}{name.removeprefix('reports/')})"
        if name != own and name in registry.names("method"):
            return f"[{shown}]({methods}{name}.md)"
        if name != own and name in registry.names("scorer"):
            return f"[{shown}]({scorers}#{name})"
        return shown

    paragraphs = [
        part if _LIST.search(part) else " ".join(part.split()) for part in text.split("\n\n")
    ]
    return "\n\n".join(_MARKUP.sub(one, part) for part in paragraphs)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)  # fmt: skip
