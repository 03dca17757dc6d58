"""The documentation is executed, and nothing a user can name is left out of it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toured import README, run_block, tour

from curate import registry
from curate.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("unregistered")
def test_the_readme_tour_runs_block_by_block(demo: Path, tmp_path: Path) -> None:
    (_, first), *blocks = tour()
    assert first == "curate demo --dir tour\ncd tour\n", "the demo is built by this block"
    assert [kind for kind, _ in blocks].count("bash") >= 3
    folder = tmp_path / "tour"
    shutil.copytree(demo, folder)
    for kind, text in blocks:
        folder = run_block(kind, text, folder)
    assert len((folder / "grape.jsonl").read_text().splitlines()) > 100
    proof = json.loads((folder / "proof.json").read_text(encoding="utf-8"))
    assert (proof["plan"]["n_trials"], proof["n_trained"]) == (20, 0), "the demo had trained them"
    grape = proof["methods"]["grape"]
    assert grape["verdict"] == "better"
    assert grape["delta_vs_random"]["ci_high"] < 0


def test_the_readme_names_the_two_commands_and_make_has_them() -> None:
    assert "make demo\nmake test\n" in README
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in ("demo", "test"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_generated_help(command: str) -> None:
    assert f"curate {command}" in (ROOT / "reports" / "cli-help.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", registry.names("method"))
def test_every_method_is_in_the_tables(name: str) -> None:
    for page in ("README.md", "selectors/README.md"):
        assert f"| `{name}` |" in (ROOT / page).read_text(encoding="utf-8")


def test_the_way_of_a_row_names_commands_and_folders_that_exist() -> None:
    way = README.split("The way of a row")[1].split("```")[1]
    assert set(re.findall(r"curate ([a-z]+)", way)) <= set(COMMANDS)
    folders = re.findall(r"(?:curate|selectors)/[a-z_/]+[a-z]", way)
    assert len(folders) > 8
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders)


def test_the_tree_has_a_line_for_every_package_and_every_folder() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("<!-- tree:")[1]
    shown = re.findall(r"^ *([a-z_]+/)", tree.split("```")[1], re.MULTILINE)
    packages = [f"{path.parent.name}/" for path in (ROOT / "curate").rglob("__init__.py")]
    listed = subprocess.run(
        ["git", "ls-files", "--", "*/*"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    tops = {f"{path.split('/')[0]}/" for path in listed if not path.startswith(".")}
    assert sorted(shown) == sorted([*packages, *(tops - {"curate/"})])


def test_the_page_for_agents_is_one_screen_and_names_what_is_there() -> None:
    page = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 60
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [name for line in re.findall(r"^make ([a-z ]+?)(?:  |$)", page, re.MULTILINE)
               for name in line.split()]  # fmt: skip
    assert {"test", "unit", "lint", "docs"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)
    assert all((ROOT / path).exists() for path in re.findall(r"\]\(([A-Z]+\.md)\)", page))


@pytest.mark.slow
def test_generated_documentation_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
