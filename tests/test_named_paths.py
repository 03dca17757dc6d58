"""Whatever names a module of `curate` or a file of the repository names one that is there."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOTTED = re.compile(r"(?<![\w./@-])(curate(?:_selectors)?(?:\.[A-Za-z_]\w*)+)")
SLASHED = re.compile(r"(?<![\w./-])((?:curate|selectors/curate_selectors)/[\w/]+(?:\.\w+)?)")
PACKAGES = {"curate": ROOT / "curate", "curate_selectors": ROOT / "selectors" / "curate_selectors"}
GROUPS = {"scorers", "selectors", "procedures", "objectives", "policies", "mixtures"}
FILES = {"duckdb", "parts", "store", "yaml", "md"}  # curate.duckdb, curate.parts, ...
MADE_UP = {"shortest", "surprise", "largest_first", "my_trainer", "sources", "NAME"}
NOT_THERE = {"curate.Budgets", "curate/scoring/executors/ray"}  # a misspelling; how two files begin
MADE_UP |= {"label_smoothing", "drop_shortest", "equal_shares"}


@cache
def names_of(source: Path) -> frozenset[str]:
    """Return every name a module binds, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return frozenset(names)


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or begins with one that binds the name after it."""
    first, *rest = dotted.split(".")
    place = PACKAGES[first]
    while rest and (place / rest[0]).is_dir():
        place /= rest.pop(0)
    if rest and (place / f"{rest[0]}.py").is_file():
        source = place / f"{rest.pop(0)}.py"
    else:
        source = place / "__init__.py"
    return not rest or rest[0].startswith("__") or rest[0] in names_of(source)


def stale(text: str) -> Iterator[str]:
    """Yield the modules and files a text names that are not there."""
    for dotted in set(DOTTED.findall(text)):
        words = dotted.split(".")
        is_other = words[0] == "curate" and words[1] in GROUPS | FILES and len(words) == 2
        if not is_other and not resolves(dotted):
            yield dotted
    for path in set(SLASHED.findall(text)):
        if not MADE_UP & set(re.split(r"[/.]", path)) and not (ROOT / path).exists():
            yield path


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split("\0") if name]


def test_every_module_and_file_that_is_named_exists() -> None:
    names = [name for name in tracked() if name not in ("CHANGELOG.md", this())]
    names = [name for name in names if (ROOT / name).is_file()]  # not a link to a folder
    found = {}
    for name in names:
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        if wrong := sorted(set(stale(text)) - NOT_THERE):
            found[name] = wrong
    assert len(names) > 500
    assert found == {}


def this() -> str:
    return Path(__file__).relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "old",
    [
        "curate.execute.local", "curate.selecting", "curate.scoring.render", "curate.report.svg",
        "curate.correction.judging", "curate/explore/assets/app.js", "curate/choosing.py",
        "curate.store.store.Shop", "curate/confidence/",
    ],
)  # fmt: skip
def test_names_from_before_the_move_are_found(old: str) -> None:
    assert list(stale(f"see `{old}`"))


@pytest.mark.parametrize(
    "now",
    [
        "curate.store.store.Store.view", "curate.contracts.Budget", "curate.open",
        "curate_selectors.kmq.KMQ", "curate/views/explore/assets/app.js", "curate.duckdb",
        "curate.scorers", "curate.cli", "https://curate.example/x",
    ],
)  # fmt: skip
def test_names_that_exist_are_not(now: str) -> None:
    assert list(stale(f"see `{now}`")) == []
