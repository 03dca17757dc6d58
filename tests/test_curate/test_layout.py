"""Where things may lie and what may import what."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import curate
from curate import contracts, errors

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("curate", "selectors", "jobs", "tests")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
HEAVY = (
    "torch", "transformers", "faiss", "ray", "duckdb", "polars", "pyarrow", "datasets", "sklearn",
    "pandas", "scipy", "sentence_transformers", "accelerate", "peft",
)  # fmt: skip
COMES_WITH = {"huggingface_hub": "transformers", "tokenizers": "transformers", "triton": "torch"}
IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "pyyaml": "yaml",
    "nvidia-ml-py": "pynvml",
    "umap-learn": "umap",
}

ONE_FILE_EACH = {"curate/scorers", "curate/cli"}  # a file per method, a file per command
MAX_MODULES = 14


@cache
def imports(path: Path) -> list[str]:
    """Return every module a file imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: relative import"
            found.append(node.module)
    return found


def users_of(package: str, folder: str) -> set[str]:
    """Return the files below a folder that import a package, relative to the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*.py")
        if any(name.split(".")[0] == package for name in imports(path))
    }


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# The trap: a package `selectors` would replace the standard library's module ----------------------


def test_no_python_file_lies_directly_in_selectors():
    assert list((ROOT / "selectors").glob("*.py")) == []


def test_standard_library_is_whole_from_the_root():
    found = run("import asyncio, selectors, socketserver, subprocess; print(selectors.__file__)")
    assert not Path(found).is_relative_to(ROOT)


def test_no_package_lies_under_tests():
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert not (ROOT / "tests" / "selectors").exists()


# Imports -----------------------------------------------------------------------------------------


def test_import_loads_nothing_heavy():
    light = "curate, curate.cli, curate.contracts, curate.store"
    loaded = run(f"import sys, {light}; print(sorted({{*{HEAVY!r}}} & {{*sys.modules}}))")
    assert loaded == "[]"


def test_only_the_store_imports_duckdb():
    outside = {
        path for path in users_of("duckdb", "curate") if not path.startswith("curate/store/")
    }
    assert outside | users_of("duckdb", "selectors") == set()


def test_only_the_ray_executor_imports_ray():
    assert {
        path
        for path in users_of("ray", "curate")
        if not path.startswith("curate/scoring/executors/ray")
    } == set()


def test_selectors_import_from_the_top_of_curate_only():
    for path in (ROOT / "selectors" / "curate_selectors").glob("*.py"):
        own = {
            name for name in imports(path) if name.split(".")[0] in ("curate", "curate_selectors")
        }
        assert own <= {"curate"}, f"{path.name} imports {sorted(own - {'curate'})}"


def test_library_names_no_selector():
    assert users_of("curate_selectors", "curate") == set()


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    declared = {re.split(r"[\[<>=~! ]", line)[0] for line in lines}
    known = {IMPORT_NAMES.get(name, name).replace("-", "_") for name in declared}
    known |= {"faiss", "curate", "curate_selectors", *COMES_WITH, *sys.stdlib_module_names}
    for folder in ("curate", "selectors"):
        for path in (ROOT / folder).rglob("*.py"):
            unknown = {name.split(".")[0] for name in imports(path)} - known
            assert not unknown, f"{path.relative_to(ROOT)} imports {sorted(unknown)}"


def own_imports(tree: ast.AST, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of `known` a file imports, anywhere but for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from [name for name in (inner, node.module) if name in known][:1]
        else:
            yield from own_imports(node, known)


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that reach one another, each of them sorted (Tarjan)."""
    found: list[list[str]] = []
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        place = low[name] = len(low)
        start = len(stack)
        stack.append(name)
        for other in graph[name]:
            if other not in low:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == place:
            found.append(sorted(stack[start:]))
            del stack[start:]

    for name in graph:
        if name not in low:
            visit(name)
    return [group for group in found if len(group) > 1]


def test_cycles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "f"}, "f": {"e"}}
    assert sorted(cycles(graph)) == [["b", "c"], ["e", "f"]]


def test_no_module_imports_itself_by_way_of_others():
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "curate").rglob("*.py")
    }
    graph = {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        graph[name] = {other for other in own_imports(tree, paths) if other != name}
    assert cycles(graph) == []


# The layers --------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contract of `.importlinter` against the packages in a folder."""
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
        + ["--no-cache", "--config", str(ROOT / ".importlinter")],
        cwd=folder, env={**os.environ, "PYTHONPATH": f"{folder}:{folder / 'selectors'}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_import_of_a_higher_layer_fails_the_contract(tmp_path):
    for package in ("curate", "selectors"):
        shutil.copytree(ROOT / package, tmp_path / package)
    assert lint_imports(tmp_path).returncode == 0
    planted = tmp_path / "curate" / "algorithms" / "groups.py"
    planted.write_text(planted.read_text() + "\n\nimport curate.store.ids  # noqa\n")
    refused = lint_imports(tmp_path)
    assert refused.returncode == 1
    assert "curate.algorithms.groups -> curate.store.ids" in refused.stdout


def test_the_contract_names_every_folder_and_exempts_nothing():
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    contract = config["importlinter:contract:layers"]
    layers = {name.removeprefix("curate.") for name in contract["layers"].split()}
    assert layers == {*names_at_the_top(), "curate_selectors"}
    assert "ignore_imports" not in contract


def names_at_the_top() -> set[str]:
    """Return what lies at the top of the library, but for what Python itself looks for there."""
    paths = (ROOT / "curate").iterdir()
    shown = {path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()}
    return {name for name in shown if not name.startswith("__")}


def test_at_most_17_names_lie_at_the_top_of_the_library():
    assert len(names_at_the_top()) <= 17


# The public names --------------------------------------------------------------------------------


def test_public_names_are_those_of_the_vocabulary_and_resolve():
    for name in curate.__all__:
        assert getattr(curate, name) is not None
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    raised = {cls.__name__ for cls in classes if issubclass(cls, BaseException)}
    assert raised <= set(curate.__all__)
    assert {"Pool", "StoredSelection", "Job", "Proof", "open", "register"} <= set(curate.__all__)
    assert {"View", "Budget", "Selector", "kmeans", "places_in_group"} <= set(curate.__all__)
    assert set(curate.__all__) & set(contracts.__all__) >= {"ForwardScorer", "Procedure", "Stat"}
    assert set(dir(curate)) == set(curate.__all__)


def test_type_checkers_and_the_interpreter_see_the_same_names():
    tree = ast.parse((ROOT / "curate" / "__init__.py").read_text(encoding="utf-8"))
    [guarded] = [node for node in tree.body if isinstance(node, ast.If)]
    static = {alias.asname: node.module for node in guarded.body for alias in node.names}
    assert set(static) == set(curate.__all__) - {"__version__"}
    for name, module in static.items():
        assert getattr(sys.modules[module], name) is getattr(curate, name)


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'curate' has no attribute 'Budgets'"):
        curate.Budgets  # noqa: B018


# Shape of the code -------------------------------------------------------------------------------


def test_no_file_is_longer_than_400_lines():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: n for path, n in lengths.items() if n > 400} == {}


def test_no_function_is_longer_than_60_lines():
    long = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
                if body[-1].end_lineno - body[0].lineno >= 60:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert long == []


def test_no_folder_without_subfolders_holds_more_modules_than_one_can_look_through():
    crowded = {}
    for folder in {path.parent for path in (ROOT / "curate").rglob("*.py")}:
        n = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        if n > MAX_MODULES and not any(folder.glob("*/__init__.py")):
            crowded[folder.relative_to(ROOT).as_posix()] = n
    assert set(crowded) - ONE_FILE_EACH == set()


def test_no_module_is_a_drawer():
    drawers = {"utils.py", "helpers.py", "misc.py", "common_utils.py"}
    assert [path for path in FILES if path.name in drawers] == []


# Tests -------------------------------------------------------------------------------------------


def mirrored(folder: Path) -> Path:
    """Return the folder that a folder of tests mirrors: tests/test_a/test_b is about a/b."""
    parts = folder.relative_to(ROOT / "tests").parts
    assert all(part.startswith("test_") for part in parts), folder
    code = ROOT.joinpath(*(part.removeprefix("test_") for part in parts))
    return code / "curate_selectors" if parts == ("test_selectors",) else code


def test_every_folder_of_tests_mirrors_a_folder_of_code():
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")} - {ROOT / "tests"}
    astray = {path for path in folders if not list(mirrored(path).glob("*.py"))}
    assert {path.relative_to(ROOT).as_posix() for path in astray} == set()


def test_every_package_with_modules_has_a_folder_of_tests():
    modules = (ROOT / "curate").rglob("*.py")
    packages = {path.parent for path in modules if path.name != "__init__.py"}
    tested = {mirrored(path.parent) for path in (ROOT / "tests").rglob("test_*.py")}
    assert {path.relative_to(ROOT).as_posix() for path in packages - tested} == set()


# What is shipped ---------------------------------------------------------------------------------


def test_wheel_holds_both_packages_and_no_tests(tmp_path, monkeypatch):
    from hatchling.builders.wheel import WheelBuilder

    monkeypatch.chdir(ROOT)
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"curate", "curate_selectors", f"curate_sft-{curate.__version__}.dist-info"}
    shipped = {"curate/py.typed", "curate_selectors/py.typed", "curate/cli/__init__.py"}
    assert shipped <= set(names)
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "curate").rglob("*.py")}
    assert sources <= set(names)
    assets = ROOT / "curate" / "views" / "explore" / "assets"
    assert {f"curate/views/explore/assets/{path.name}" for path in assets.iterdir()} <= set(names)
    assert not [name for name in names if "test_" in name or name.endswith("conftest.py")]


def test_make_and_the_workflow_name_the_same_targets():
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"make ([a-z]+)", workflow)) <= targets
    assert "exec make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_constraints_pin_every_declared_dependency_that_is_installed_here():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["encoder"], *extras["dev"]]
    assert {re.split(r"[\[<>=~! ]", line)[0].lower() for line in wanted} <= pinned
