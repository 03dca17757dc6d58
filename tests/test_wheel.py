"""The wheel installs into a new environment and runs there, outside the repository."""

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from curate import registry

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into a new environment; return the folder of its commands.

    The environment sees the packages of this one but not its installation of curate, whose path
    only a ``.pth`` file of its own site-packages would add.
    """
    folder = tmp_path_factory.mktemp("installed")
    wheels, environment = folder / "wheels", folder / "venv"
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)], ROOT)
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder)
    commands = environment / "bin"
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    [wheel] = wheels.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(commands / "python")]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], folder)
    return commands


def run(words: list[str], folder: Path, path: Path | None = None) -> str:
    """Run a command in a folder, without the repository on its path; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env={**environment, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


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
def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    report = json.loads(run(["curate", "demo", "--json", "--quiet"], tmp_path, installed))
    assert report["proof"]["methods"]["grape"]["verdict"] == "better"
    assert (tmp_path / "curate-demo" / "grape.jsonl").is_file()
    store = str(tmp_path / "curate-demo" / "curate.duckdb")
    status = json.loads(run(["curate", "status", "--store", store, "--json"], tmp_path, installed))
    assert status["n_examples"] == report["n_examples"]
