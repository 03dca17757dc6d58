"""A proof on its own: a Markdown page for people, and the same document as JSON beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.data.write.portable import Portable
from curate.errors import ConfigError
from curate.prove.conclusions import conclusions
from curate.store.parts import atomic_path
from curate.views.report import markdown
from curate.views.report.page import Page
from curate.views.report.proofs.sections import proof_sections


def check_proof_path(path: Path) -> None:
    """Raise `ConfigError` for a report that could not be written where the user wants it."""
    if path.suffix != ".md":
        raise ConfigError(f"a report is Markdown, got {str(path)!r}; give -o NAME.md")
    if not path.parent.is_dir():
        raise ConfigError(
            f"folder {str(path.parent)!r} of the report does not exist; create it first"
        )


def write_proof(document: Mapping[str, Any], path: Path) -> tuple[Path, Path]:
    """Write the page, and the document beside it as JSON; return both paths."""
    beside = path.with_suffix(".json")
    document = Portable(path.parent).value(dict(document))
    for where, text in (
        (path, proof_markdown(document)),
        (beside, json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"),
    ):
        with atomic_path(where) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path, beside


def proof_markdown(document: Mapping[str, Any]) -> str:
    """Return the page of a proof as Markdown."""
    about = (
        f"{document['model']}, pool of {document['n_pool']:,} examples, {document['seeds']} seeds"
    )
    sections = list(proof_sections(document))
    return markdown.render(Page("Proof", about, sections, lead=conclusions(document)))


def is_proof(file: Path) -> bool:
    """Whether a file holds the document of a proof."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and {"methods", "n_pool", "seeds"} <= document.keys()
