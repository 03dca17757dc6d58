"""The wheel, installed into a new environment, and its commands, run outside the repository."""

import os
import site
import subprocess
import sys
from pathlib import Path

import pytest
from built import built_once

ROOT = Path(__file__).resolve().parent.parent


def installed_commands(factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it, once a run; return the folder of its commands.

    The environment sees the packages of this one but not its installation of curate, whose path
    only a ``.pth`` file of its own site-packages would add.
    """
    return built_once(factory, "installed", _install) / "venv" / "bin"


def _install(folder: Path) -> None:
    wheels, environment = folder / "wheels", folder / "venv"
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)], ROOT)
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    [wheel] = wheels.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python")]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], folder)


def installed_from_git(folder: Path) -> None:
    """Install the commit that is checked out, alone and without network, as ``pip install git+file://`` does."""
    words = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-compile",
    ]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    run([*pip, "--target", str(folder), f"git+file://{ROOT}"], ROOT)


def run(
    words: list[str], folder: Path, path: Path | None = None, library: Path | None = None
) -> str:
    """Run a command in a folder, without the repository on its path; return what it printed.

    ``path`` is the folder of its commands, ``library`` one of packages that come first.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if library is not None:
        environment["PYTHONPATH"] = str(library)
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
