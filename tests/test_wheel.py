"""The wheel, and a clone by pip, install into a new place and run there, outside the repository."""

import json
import sys
from pathlib import Path

import pytest
from from_wheel import ROOT, installed_commands, installed_from_git, run

from curate import registry


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands that the wheel installs."""
    return installed_commands(tmp_path_factory)


@pytest.mark.slow
def test_the_wheel_runs_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    where = "import curate, curate_selectors as s; print(curate.__file__); print(s.__file__)"
    for path in run([str(installed / "python"), "-c", where], tmp_path).splitlines():
        assert Path(path).is_relative_to(installed.parent)
    assert "Usage: curate" in run(["curate", "--help"], tmp_path, installed)
    methods = json.loads(run(["curate", "methods", "--json"], tmp_path, installed))
    assert [one["name"] for one in methods["selectors"]] == registry.names("selector")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_runs_from_the_wheel(installed: Path, demo: Path, tmp_path: Path) -> None:
    proof = json.loads((demo / "proof.json").read_text(encoding="utf-8"))
    assert proof["methods"]["grape"]["verdict"] == "better"
    assert (demo / "grape.jsonl").is_file()
    words = ["curate", "status", "--store", str(demo / "curate.duckdb"), "--json"]
    status = json.loads(run(words, tmp_path, installed))
    rows = [json.loads(line) for line in (demo / "pool.jsonl").read_text().splitlines()]
    assert status["n_examples"] == len({(row["prompt"], row["response"]) for row in rows})


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone of a repository")
def test_pip_installs_a_clone_that_runs_outside_the_repository(tmp_path: Path) -> None:
    library, elsewhere = tmp_path / "library", tmp_path / "elsewhere"
    elsewhere.mkdir()
    installed_from_git(library)
    where = "import curate, curate_selectors as s; print(curate.__file__); print(s.__file__)"
    printed = run([sys.executable, "-c", where], elsewhere, library=library)
    assert all(Path(path).is_relative_to(library) for path in printed.splitlines())
    curate = [sys.executable, "-m", "curate"]
    methods = json.loads(run([*curate, "methods", "--json"], elsewhere, library=library))
    assert [one["name"] for one in methods["selectors"]] == registry.names("selector")
    written = run([*curate, "run", "--example", "proof", "-o", "mine.yaml"], elsewhere, library=library)  # fmt: skip
    assert written == "wrote mine.yaml; change it, then: curate run mine.yaml\n"
