"""A pool, and a folder that stands for a bucket."""

import pytest

import curate as cu
from curate.store import objects
from tests.copied import copied
from tests.published import ingested


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return ingested(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def expected(made, tmp_path_factory):
    """A copy of the pool that was scored without a URL."""
    whole = copied(made, tmp_path_factory.mktemp("whole") / "copy")
    whole.score("text_stats", "mtld")
    return whole


@pytest.fixture
def pool(made, tmp_path, monkeypatch):
    monkeypatch.setenv("CURATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "PAUSES_S", (0.01, 0.02))
    return copied(made, tmp_path / "copy")


@pytest.fixture
def bucket(tmp_path):
    return tmp_path / "bucket"


@pytest.fixture
def elsewhere(made, tmp_path):
    """A machine without the store: a pool that holds nothing, which nothing is read from."""
    return cu.open(tmp_path / "elsewhere.duckdb", create=True)
