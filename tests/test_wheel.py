"""The wheel installs into a new environment and runs there, outside the repository."""

import json
from pathlib import Path

import pytest
from from_wheel import installed_commands, run

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
