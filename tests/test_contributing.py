"""Every recipe of CONTRIBUTING.md works as it stands there, from a package outside the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (Add [^\n]+)\n(.*?)(?=^## )", TEXT, re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
MODULES = {
    "Add a selector": "shortest",
    "Add a scorer": "surprise",
    "Add an objective": "label_smoothing",
    "Add a policy": "drop_shortest",
    "Add a mixture": "equal_shares",
    "Add a trainer export": "my_trainer",
    "Add an executor": "largest_first",
    "Add a page endpoint": "sources",
}

TRY = """
import json, re, sys, traceback
from pathlib import Path

import numpy as np

import curate as cu
from curate import Budget, SegmentStats, View
from curate import registry, testing

FOLDER = Path(sys.argv[1])
DOCUMENTED = json.loads((FOLDER / "tests.json").read_text())


def documented_test(section, cls):
    names = {"np": np, "Budget": Budget, "SegmentStats": SegmentStats, "View": View}
    names[cls.__name__] = cls
    exec(DOCUMENTED[section], names)
    [test] = re.findall(r"def (test_\\w+)", DOCUMENTED[section])
    names[test]()


def a_selector():
    cls = registry.get_selector("shortest")
    documented_test("Add a selector", cls)
    for selector in testing.variants(cls):
        testing.check_selector(selector)
    return cls.__module__


def a_scorer():
    cls = registry.get_scorer("surprise")
    documented_test("Add a scorer", cls)
    for scorer in testing.variants(cls):
        testing.check_scorer(scorer)
    return cls.__module__


def an_objective():
    cls = registry.get_objective("label-smoothing")
    for objective in testing.variants(cls):
        testing.check_objective(objective)
    return cls.__module__


def a_policy():
    cls = registry.get_policy("drop-shortest")
    for policy in testing.variants(cls):
        testing.check_policy(policy)
    return cls.__module__


def a_mixture():
    cls = registry.get_mixture("equal-shares")
    for mixture in testing.variants(cls):
        testing.check_mixture(mixture)
    return cls.__module__


def pool(name):
    rows = [{"prompt": f"Say {n}.", "response": f"Word {n} " * (1 + n % 3), "source": "ab"[n % 2]}
            for n in range(12)]
    path = FOLDER / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\\n" for row in rows))
    opened = cu.open(FOLDER / f"{name}.duckdb", create=True)
    opened.ingest(str(path))
    return opened


def a_trainer_export():
    from curate.data.write.trainers.known import TRAINERS
    from my_methods.my_trainer import MyTrainer

    TRAINERS["my-trainer"] = MyTrainer()
    opened = pool("exported")
    chosen = opened.select("random", budget="50%")
    opened.export(chosen.id, FOLDER / "subset", trainer="my-trainer", validation="2")
    return (FOLDER / "subset" / "dataset.yaml").read_text()


def an_executor():
    from curate.scoring.executors import EXECUTORS
    from my_methods.largest_first import run_tasks

    EXECUTORS["largest-first"] = run_tasks
    found = []
    for executor in ("local", "largest-first"):
        report = pool(executor).score("mtld", executor=executor)
        found.append([one["content_hash"] for one in report.as_dict()["score_sets"]])
    return found


def a_page_endpoint():
    from starlette.testclient import TestClient

    from curate.views.explore.server import ANSWERS, application
    from curate.views.explore.session import Session
    from my_methods.sources import sources

    ANSWERS["sources"] = sources
    client = TestClient(
        application(Session(pool("explored").store, "ana"), "token"),
        base_url="http://127.0.0.1:8000", headers={"authorization": "Bearer token"},
    )
    answers = [client.get("/api/sources", params=given).json()
               for given in ({}, {"where": "source = 'a'"})]
    return [*answers, TestClient(client.app, base_url="http://127.0.0.1").get("/api/sources").status_code]


tried = {}
TRIALS = (
    a_selector, a_scorer, an_objective, a_policy, a_mixture, a_trainer_export, an_executor,
    a_page_endpoint,
)
for one in TRIALS:
    try:
        tried["Add " + one.__name__.replace("_", " ")] = one()
    except BaseException:
        tried["Add " + one.__name__.replace("_", " ")] = {"failed": traceback.format_exc()}
(FOLDER / "tried.json").write_text(json.dumps(tried))
"""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Lay out the recipes' modules as an installed package; return what came of each, by section."""
    folder = tmp_path_factory.mktemp("recipes")
    site = folder / "site"
    package = site / "my_methods"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    tests = {}
    for section, module in MODULES.items():
        source, *further = BLOCK.findall(SECTIONS[section])
        (package / f"{module}.py").write_text(source, encoding="utf-8")
        tests[section] = "\n".join(further)
    info = site / "my_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points(), encoding="utf-8")
    (folder / "tests.json").write_text(json.dumps(tests), encoding="utf-8")
    (folder / "try.py").write_text(TRY, encoding="utf-8")
    path = os.pathsep.join(str(entry) for entry in (site, ROOT, ROOT / "selectors"))
    done = subprocess.run(
        [sys.executable, folder / "try.py", folder],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "tried.json").read_text(encoding="utf-8"))
    return found


def entry_points() -> str:
    """Return the entry points that CONTRIBUTING shows, as an installer writes them."""
    document = tomllib.loads(re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[0])
    groups = document["project"]["entry-points"]
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in groups.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "module"),
    [
        (section, f"my_methods.{module}")
        for section, module in MODULES.items()
        if module in ("shortest", "surprise", "label_smoothing", "drop_shortest", "equal_shares")
    ],
)
def test_a_registered_class_of_another_package_passes_its_test_and_the_contract(
    tried, section, module
):
    assert tried[section] == module, tried[section]


@pytest.mark.slow
def test_a_trainer_of_another_package_writes_its_files(tried):
    written = tried["Add a trainer export"]
    assert "train: subset/train\n" in written, written
    assert "validation: subset/validation\n" in written


@pytest.mark.slow
def test_an_executor_of_another_package_computes_the_same_scores(tried):
    local, other = tried["Add an executor"]
    assert local == other and len(local[0]) == 32


@pytest.mark.slow
def test_an_endpoint_of_another_package_answers_with_the_token_alone(tried):
    assert tried["Add a page endpoint"] == [{"a": 6, "b": 6}, {"a": 6, "b": 0}, 403]


STATISTIC = {
    "curate/contracts/segments.py": [
        ('    LAST_HIDDEN = "last_hidden"\n', '    FIRST_HIDDEN = "first_hidden"\n'),
        ("Stat.WEIGHTED_HIDDEN, Stat.LAST_HIDDEN", ", Stat.FIRST_HIDDEN"),
        (
            '    last_hidden: Float[np.ndarray, " dim"] | None = None\n',
            '    first_hidden: Float[np.ndarray, " dim"] | None = None\n',
        ),
    ],
    "curate/models/passes/forward.py": [
        ("    if stat is Stat.LAST_HIDDEN:\n", None),
        ("            last_hidden=", None),
    ],
    "curate/testing/synthetic.py": [
        (
            "        last_hidden=_hidden(rng) if Stat.LAST_HIDDEN in emits else None,\n",
            "        first_hidden=_hidden(rng) if Stat.FIRST_HIDDEN in emits else None,\n",
        )
    ],
}
BEFORE = {
    "    if stat is Stat.LAST_HIDDEN:\n": "    if stat is Stat.FIRST_HIDDEN:\n"
    "        return hidden[:, 0].double()\n",
    "            last_hidden=": "            first_hidden=(\n"
    "                self.pooled.get(Stat.FIRST_HIDDEN) if Stat.FIRST_HIDDEN in asked else None\n"
    "            ),\n",
}
READS_IT = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from curate.contracts import Column, ForwardScorer, Rendering, Segment, Stat
from curate.models.passes.forward import PassRequest, pool
from curate.testing import check_scorer


@dataclass(frozen=True)
class FirstState(ForwardScorer):
    \"\"\"The state of the first token.\"\"\"

    name: ClassVar[str] = "first-state"
    version: ClassVar[int] = 1
    role: ClassVar[str] = "target"
    outputs: ClassVar[dict[str, Column]] = {"vector": Column("vector", "state of the first token")}
    template: str = "plain"
    score_end: bool = False

    @property
    def emits(self):
        return frozenset({Stat.FIRST_HIDDEN})

    def segments(self):
        return (Segment("full", Rendering(self.template)),)

    def reduce(self, stats):
        return {"vector": stats["full"].first_hidden}


check_scorer(FirstState())
assert PassRequest.of([FirstState()]).pooled == (Stat.FIRST_HIDDEN,)
hidden = torch.arange(12.0).reshape(2, 3, 2)
assert pool(hidden, [3, 2], Stat.FIRST_HIDDEN).tolist() == [[0.0, 1.0], [6.0, 7.0]]
"""


@pytest.mark.slow
def test_a_statistic_needs_the_named_files_and_no_other(tmp_path):
    [row] = re.findall(r"^\| \[a statistic\].*", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(curate/[^`]+)`", row)) == set(STATISTIC)
    shutil.copytree(ROOT / "curate", tmp_path / "curate", ignore=shutil.ignore_patterns("*.pyc"))
    for name, edits in STATISTIC.items():
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        for anchor, added in edits:
            assert text.count(anchor) == 1, f"{name} has changed: {anchor}"
            text = text.replace(anchor, anchor + added if added else BEFORE[anchor] + anchor)
        path.write_text(text, encoding="utf-8")
    path = os.pathsep.join(str(entry) for entry in (tmp_path, ROOT / "selectors"))
    done = subprocess.run(
        [sys.executable, "-c", READS_IT], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_recipe_of_the_table_has_a_section_that_is_tried_here():
    linked = re.findall(r"^\| \[([^\]]+)\]\(#([a-z-]+)\)", TEXT, re.MULTILINE)
    assert {f"add-{name.replace(' ', '-')}" for name, _ in linked} == {link for _, link in linked}
    assert {f"Add {name}" for name, _ in linked} == set(SECTIONS)
    assert set(SECTIONS) == {*MODULES, "Add a statistic"}


def test_every_path_it_names_exists():
    named = re.findall(r"`((?:curate|tests|selectors|jobs)/[^`]*)`", TEXT)
    assert len(named) > 15
    made_up = {
        "NAME",
        "shortest",
        "surprise",
        "my_trainer",
        "largest_first",
        "label_smoothing",
        "drop_shortest",
        "equal_shares",
    }
    for path in named:
        if not any(word in path for word in made_up):
            assert (ROOT / path).exists(), path


def test_every_make_target_it_names_exists():
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(re.findall(r"make (?:PYTHON=\S+ )?([a-z]+)", TEXT)) <= targets
