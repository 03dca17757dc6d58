"""Handing the pool to embedding-atlas, played by a program that keeps what it is given."""

import json
import sys

import pyarrow.parquet as pq
import pytest
from reported import colour_rows, quality, score, write_rows

import curate as cu
from curate.errors import MissingPackageError
from curate.views.atlas import atlas

PROGRAM = """#!{python}
import json, shutil, sys
shutil.copy(sys.argv[1], "{folder}/given.parquet")
open("{folder}/words.json", "w").write(json.dumps(sys.argv[2:]))
sys.exit({code})
"""


@pytest.fixture
def pool(tmp_path):
    opened = cu.open(tmp_path / "curate.duckdb", create=True)
    opened.ingest(str(write_rows(tmp_path / "pool.jsonl", colour_rows())))
    score(opened, "quality", {"value": ("float", quality)})
    return opened


@pytest.fixture
def installed(tmp_path, monkeypatch):
    def install(code=0):
        program = tmp_path / "embedding-atlas"
        program.write_text(PROGRAM.format(python=sys.executable, folder=tmp_path, code=code))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return tmp_path

    return install


def test_texts_scores_and_places_are_handed_over(pool, installed, curate):
    folder = installed()
    score(pool, "embedding", {"vector": ("vector", lambda n: [quality(n), 1.0])})
    ran = curate("explore", "--atlas", "--port", "5999", "--store", pool.store.path)
    assert ran.code == 0, ran.err
    words = json.loads((folder / "words.json").read_text())
    assert words == ["--text", "response", "--x", "x", "--y", "y", "--port", "5999"]
    given = pq.read_table(folder / "given.parquet")
    assert {"id", "source", "prompt", "response", "quality.value", "x", "y"} <= set(
        given.column_names
    )
    by_value = sorted(zip(given["quality.value"].to_pylist(), given["x"].to_pylist(), strict=True))
    xs = [x for _, x in by_value]
    assert xs in (sorted(xs), sorted(xs, reverse=True))
    assert "in embedding-atlas" in ran.out


def test_without_an_embedding_no_model_is_loaded_for_one(pool, installed):
    installed()
    with atlas(pool.store, 0) as words:
        assert words[2:] == ["--text", "response", "--disable-projection"]
        assert pq.read_table(words[1]).num_rows == 12


def test_its_exit_code_is_ours(pool, installed, curate):
    installed(code=3)
    assert curate("explore", "--atlas", "--store", pool.store.path).code == 3


def test_where_it_is_not_installed_it_is_named(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(MissingPackageError, match="type: pip install embedding-atlas"),
        atlas(pool.store, 0),
    ):
        raise AssertionError("never shown")
