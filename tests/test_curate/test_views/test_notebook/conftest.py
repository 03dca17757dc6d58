"""A scored slice of the demo's pool, for everything a notebook shows of it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

N_TASKS = 24


@pytest.fixture(scope="session")
def demo_rows() -> list[dict]:
    """Every response to some of the demo's tasks: several responses to each prompt."""
    from curate.demo.pool import build_pool

    rows = [row for row in build_pool(0) if row.duplicate_of is None]
    prompts = list(dict.fromkeys(row.prompt for row in rows))[:N_TASKS]
    return [asdict(row) for row in rows if row.prompt in set(prompts)]


@pytest.fixture(scope="session")
def scored(tmp_path_factory, demo_rows, roomy_model) -> Path:
    """Store of the rows with every score the notebooks read; do not change it."""
    import curate as cu

    folder = tmp_path_factory.mktemp("notebooks")
    data = folder / "pool.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in demo_rows), encoding="utf-8")
    pool = cu.open(folder / "curate.duckdb", create=True)
    pool.ingest(str(data))
    pool.score("length", "likelihood", "ifd", "embedding", model=str(roomy_model))
    return folder / "curate.duckdb"


@pytest.fixture
def pool(scored, tmp_path):
    """A copy of the scored store that a test may change."""
    import shutil

    import curate as cu

    shutil.copy(scored, tmp_path / "curate.duckdb")
    shutil.copytree(scored.with_suffix(".parts"), tmp_path / "curate.parts")
    return cu.open(tmp_path / "curate.duckdb", create=True)


@pytest.fixture
def hostile(tmp_path):
    """A scored pool whose every text tries to leave its place."""
    from reported import hostile_rows, score, write_rows
    from surrogates import surrogates_let_in

    import curate as cu

    opened = cu.open(tmp_path / "hostile.duckdb", create=True)
    with surrogates_let_in():
        opened.ingest(str(write_rows(tmp_path / "hostile.jsonl", hostile_rows())))
    score(opened, "quality", {"value": ("float", lambda n: float(n[1:]))})
    return opened
