"""A small store with scores, an embedding, clusters and selections, and a client of its page."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reported import COLOURS, colour_rows, quality, score, write_rows

TOKEN = "secret-token"


@pytest.fixture
def make_pool(tmp_path: Path) -> Callable[..., Any]:
    """Ingest rows into a new store."""
    import curate as cu

    def make(rows: Any) -> Any:
        opened = cu.open(tmp_path / "curate.duckdb")
        if rows:
            opened.ingest(str(write_rows(tmp_path / "pool.jsonl", rows)))
        return opened

    return make


def add_scores(pool: Any) -> None:
    """Score the colours: quality 0 to 11 (none for red-1), two clusters, vectors on a line."""
    score(
        pool,
        "quality",
        {"value": ("float", quality), "long": ("bool", lambda n: n.endswith("2"))},
        failure=lambda n: "non_finite" if n == "red-1" else None,
    )
    score(
        pool,
        "clusters",
        {"cluster": ("int", lambda n: int(quality(n) > 5)), "distance": ("float", quality)},
    )
    score(pool, "embedding", {"vector": ("vector", lambda n: [quality(n), -quality(n), 1.0])})


@pytest.fixture(scope="session")
def scored_colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a scored store, to be copied."""
    import curate as cu

    folder = tmp_path_factory.mktemp("colours") / "store"
    folder.mkdir()
    pool = cu.open(folder / "curate.duckdb")
    pool.ingest(str(write_rows(folder / "pool.jsonl", colour_rows())))
    add_scores(pool)
    return folder


@pytest.fixture
def colours(scored_colours: Path, tmp_path: Path) -> Any:
    """Twelve scored rows of six prompts and two sources."""
    import curate as cu

    shutil.copytree(scored_colours, tmp_path / "colours")
    return cu.open(tmp_path / "colours" / "curate.duckdb")


@pytest.fixture
def client() -> Callable[..., Any]:
    """A client of the page over a store, which sends the token unless told otherwise."""
    from starlette.testclient import TestClient

    from curate.views.explore.server import application
    from curate.views.explore.session import Session

    def make(pool: Any, token: str | None = TOKEN, marker: str = "ana") -> Any:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        session = Session(pool.store, marker)
        made = TestClient(
            application(session, TOKEN), base_url="http://127.0.0.1:8000", headers=headers
        )
        made.session = session
        return made

    return make


@pytest.fixture
def names(colours: Any) -> dict[str, str]:
    """Example id by the id the input gave it."""
    found = colours.store.query("select id, external_id from rows").to_pylist()
    assert len(found) == 2 * len(COLOURS)
    return {row["external_id"]: row["id"] for row in found}
