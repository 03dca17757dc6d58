"""A small store with scores, an embedding, clusters and selections, and a client of its page."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsed import headless_browser
from copied import copied
from reported import COLOURS, colour_rows, quality, score, write_rows
from surrogates import surrogates_let_in

TOKEN = "secret-token"


@pytest.fixture
def make_pool(tmp_path: Path) -> Callable[..., Any]:
    """Ingest rows into a new store."""
    import curate as cu

    def make(rows: Any) -> Any:
        opened = cu.open(tmp_path / "curate.duckdb", create=True)
        if rows:
            with surrogates_let_in():
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
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(write_rows(folder / "pool.jsonl", colour_rows())))
    add_scores(pool)
    return folder


@pytest.fixture
def colours(scored_colours: Path, tmp_path: Path) -> Any:
    """Twelve scored rows of six prompts and two sources."""
    return copied(scored_colours, tmp_path / "colours")


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
    found = colours.store.read("select id, external_id from rows").to_pylist()
    assert len(found) == 2 * len(COLOURS)
    return {row["external_id"]: row["id"] for row in found}


@pytest.fixture(scope="package")
def browser() -> Any:
    """One headless browser for all tests of the page; skipped where there is none."""
    with headless_browser() as opened:
        yield opened


@pytest.fixture
def explore() -> Iterator[Callable[[Path], str]]:
    """Run ``curate explore`` on a store; returns the address of the page."""
    running = []

    def start(store: Path) -> str:
        words = ["explore", "--store", str(store), "--no-browser", "--json", "--marker", "ana"]
        code = "from curate.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        printed = ""
        while not printed.endswith("}\n"):
            line = process.stdout.readline()
            assert line, f"curate explore ended with {process.wait()}"
            printed += line
        return json.loads(printed)["url"]

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        process.stdout.close()
