"""Small stores whose every number is worked out by hand, and the reports made of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from copied import copied
from reported import colour_rows, proof_document, quality, score, write_rows
from surrogates import surrogates_let_in


@pytest.fixture
def make_pool(tmp_path: Path) -> Callable[..., Any]:
    """Ingest rows into a new store."""
    import curate as cu

    def make(rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        opened = cu.open(tmp_path / "curate.duckdb", create=True)
        if rows:
            with surrogates_let_in():
                opened.ingest(str(write_rows(tmp_path / "pool.jsonl", rows)), **options)
        return opened

    return make


@pytest.fixture(scope="session")
def made_colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the store of `colours`, to be copied, and the file it was read from."""
    import curate as cu

    folder = tmp_path_factory.mktemp("colours")
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(write_rows(folder / "pool.jsonl", colour_rows())))
    score(
        pool,
        "quality",
        {"value": ("float", quality), "truncated": ("bool", lambda n: n == "red-1")},
    )
    return folder


@pytest.fixture
def colours(made_colours: Path, tmp_path: Path) -> Any:
    """Twelve scored rows of two sources."""
    return copied(made_colours, tmp_path)


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], str]]:
    """Write a report and return its document and the page."""
    from curate.views.report.build import ReportOptions, write_report

    def write(pool: Any, **options: Any) -> tuple[dict[str, Any], str]:
        as_markdown = options.get("as_markdown", False)
        path = tmp_path / ("report.md" if as_markdown else "report.html")
        store = None if pool is None else pool.store
        document = write_report(store, path, ReportOptions(**options), made="2031-02-03 04:05 UTC")
        return document, path.read_text(encoding="utf-8")

    return write


@pytest.fixture
def proof_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a proof's document; keyword arguments replace parts of it."""

    def write(document: dict[str, Any] | None = None, **changes: Any) -> Path:
        path = tmp_path / "proof.json"
        path.write_text(json.dumps((document or proof_document()) | changes), encoding="utf-8")
        return path

    return write
