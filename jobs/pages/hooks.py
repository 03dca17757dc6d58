"""Hooks of the documentation site: the measured reports of ``reports/`` become pages of it.

Pages link to a report as it lies in the repository, ``../reports/bench.md``, so that the link also
works on a forge; in the site it loses the step out of ``docs/``.
"""

import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPORTS: Final = Path(__file__).resolve().parents[2] / "reports"
_LINK: Final = re.compile(r"\]\(\.\./((?:\.\./)*reports/)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page and picture of ``reports/``."""
    for path in sorted(REPORTS.iterdir()):
        if path.suffix in (".md", ".png", ".svg"):
            files.append(File.generated(config, f"reports/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to reports stay inside the site."""
    del page, config, files
    return _LINK.sub(r"](\1", markdown)
