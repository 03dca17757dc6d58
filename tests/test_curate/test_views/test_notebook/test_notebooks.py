"""The notebooks in reports/: their outputs are current and small, and every cell runs on any store."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from jobs.notebooks import is_current

ROOT = Path(__file__).resolve().parents[4]
NOTEBOOKS = ("explore-a-pool", "compare-selections", "prove-it")
NO_WIDGETS = "IProgress not found"  # what another library says in a kernel without ipywidgets
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient

source, out, folder = sys.argv[1:]
notebook = nbformat.read(source, as_version=4)
client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}})
try:
    client.execute()
finally:
    nbformat.write(notebook, out)
"""


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_these_are_the_notebooks():
    assert {path.stem for path in (ROOT / "reports").glob("*.ipynb")} == set(NOTEBOOKS)


def code_of(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_outputs_of_a_notebook_are_current_and_small(name):
    path = ROOT / "reports" / f"{name}.ipynb"
    notebook = read(path)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info", "curate"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert is_current(path), "make notebooks executes it again"
    for cell in code_of(notebook):
        is_timed = "timed" in cell["metadata"].get("tags", ())
        shown = [output for output in cell["outputs"] if output["output_type"] != "error"]
        assert bool(shown) != is_timed and len(shown) == len(cell["outputs"])
        assert set(cell["metadata"]) <= {"tags"}
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_outputs_of_a_notebook_name_no_machine_and_no_time(name):
    text = (ROOT / "reports" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert "../curate-demo/curate.duckdb" in text
    assert not re.findall(r"/(?:tmp|home|root|work|Users|var)/\S*", text)
    assert not re.findall(r"\b\d\d:\d\d\b|\b20\d\d-\d\d-\d\d|\b[\d.]+ (?:s|seconds)\b", text)
    pictures = [
        "".join(output["data"]["image/svg+xml"])
        for cell in code_of(json.loads(text))
        for output in cell["outputs"]
        if "image/svg+xml" in output.get("data", {})
    ]
    assert len(pictures) >= 4
    for picture in pictures:
        ElementTree.fromstring(picture)
        assert "background:#fff" in picture, "dark on white, whatever the forge's theme"


def test_a_notebook_whose_cells_changed_is_out_of_date(tmp_path):
    notebook = read(ROOT / "reports" / "prove-it.ipynb")
    path = tmp_path / "changed.ipynb"
    notebook["cells"][1]["source"][-1] += "  # changed"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert not is_current(path)
    del notebook["metadata"]["curate"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert not is_current(path)


# Other stores ------------------------------------------------------------------------------------


@pytest.fixture
def small_store(tmp_path, demo_rows):
    """Make a store of some of the demo's rows with scores from elsewhere, and no embedding."""
    from reported import score, write_rows

    import curate as cu

    def make(**columns: str) -> Path:
        pool = cu.open(tmp_path / "curate.duckdb", create=True)
        pool.ingest(str(write_rows(tmp_path / "pool.jsonl", demo_rows[:40])))
        for alias, column in columns.items():
            value = ("float", lambda name: float(int(name[-3:]) % 7))
            score(pool, alias.replace("_", "-"), {column: value, "more": value})
        return pool.store.path

    return make


@pytest.fixture
def run_cells(monkeypatch, tmp_path):
    """Run the cells of a notebook in this process; return what they show."""

    def run(name: str, **variables: str) -> str:
        monkeypatch.chdir(tmp_path)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        names: dict[str, object] = {}
        shown = []
        for cell in code_of(read(ROOT / "reports" / f"{name}.ipynb")):
            *body, last = ast.parse("".join(cell["source"])).body
            if not isinstance(last, ast.Expr):
                body.append(last)
            exec(compile(ast.Module(body, []), name, "exec"), names)  # noqa: S102, our own cells
            if isinstance(last, ast.Expr):
                result = eval(compile(ast.Expression(last.value), name, "eval"), names)
                draw = getattr(result, "_repr_html_", None)
                shown.append(repr(result) if draw is None else draw())
        return "".join(shown)

    return run


@pytest.mark.parametrize(
    "scores", [{"token_probability": "mean", "null_likelihood": "mean"}, {"quality": "value"}]
)
def test_explore_runs_on_scores_with_hyphens_and_without_an_embedding(
    small_store, run_cells, scores
):
    text = run_cells("explore-a-pool", CURATE_STORE=str(small_store(**scores)), CURATE_MODEL="")
    for alias, column in scores.items():
        assert f"Distribution of {alias.replace('_', '-')}.{column}" in text
    assert text.count("no vectors yet") == 3
    assert "Selection top-k 10%" in text


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["token_probability.mean_probability", "quality.value"])
def test_prove_runs_on_one_budget_and_any_scores(
    small_store, run_cells, roomy_model, few_targets, rank
):
    import curate as cu

    store = small_store(quality="value")
    if rank != "quality.value":
        cu.open(store).score("token-probability", model=str(roomy_model))
    text = run_cells(
        "prove-it", CURATE_STORE=str(store), CURATE_MODEL=str(roomy_model),
        CURATE_TARGET=str(few_targets), CURATE_METHODS=f"top-k:rank={rank}", CURATE_BUDGETS="8",
        CURATE_SEEDS="1", CURATE_TOKENS="300", CURATE_BATCH_TOKENS="150",
    )  # fmt: skip
    assert "Mean of each method" in text and "Paired difference from random" in text
    assert f"top-k:rank={rank}" in text


# In a kernel of their own ------------------------------------------------------------------------


@pytest.fixture
def few_targets(tmp_path):
    from curate.demo.pool import build_test_split

    target = tmp_path / "test.jsonl"
    rows = build_test_split(0)[:12]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return target


@pytest.fixture
def execute(pool, roomy_model, tmp_path):
    """Run a notebook in a kernel of its own; return its cells with their outputs."""

    def run(name: str, **variables: str) -> list[dict]:
        out = tmp_path / f"{name}.ipynb"
        environment = os.environ | {
            "CURATE_STORE": str(pool.store.path),
            "CURATE_MODEL": str(roomy_model),
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
            "OMP_NUM_THREADS": "1",
            **variables,
        }
        source = ROOT / "reports" / f"{name}.ipynb"
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", EXECUTE, str(source), str(out), str(tmp_path)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        assert time.monotonic() - began < 240
        return code_of(read(out))

    return run


def pages(cells: list[dict]) -> list[str]:
    """Return the HTML of every output."""
    found = []
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            said = "".join(output.get("text", "")) if output.get("name") == "stderr" else ""
            assert said == "" or NO_WIDGETS in said, said
            found += ["".join(output.get("data", {}).get("text/html", ""))]
    return found


def charts(cells: list[dict]) -> int:
    return sum(page.count("<figure>") for page in pages(cells))


@pytest.mark.slow
def test_explore_a_pool_runs_in_a_clean_kernel(execute):
    cells = execute("explore-a-pool")
    assert all(cell["outputs"] for cell in cells)
    assert charts(cells) >= 8 + 1 + 1 + 2 + 2
    text = "".join(pages(cells))
    for title in ("Rank correlation of scores", "Map of embedding.vector, by source", "neighbours"):
        assert title in text


@pytest.mark.slow
def test_compare_selections_runs_in_a_clean_kernel(execute):
    cells = execute("compare-selections", CURATE_METHODS="grape,perplexity,random")
    assert all(cell["outputs"] for cell in cells)
    text = "".join(pages(cells))
    for title in ("Overlap of selections", "Shares of the sources", "Picked of each tenth"):
        assert title in text
    assert charts(cells) >= 2 * 2 + 1 + 5 + 2


@pytest.mark.slow
def test_prove_it_runs_in_a_clean_kernel(execute, few_targets):
    cells = execute(
        "prove-it", CURATE_TARGET=str(few_targets), CURATE_METHODS="grape", CURATE_BUDGETS="8,16",
        CURATE_SEEDS="1", CURATE_TOKENS="1000", CURATE_BATCH_TOKENS="150",
    )  # fmt: skip
    text = "".join(pages(cells))
    assert "Paired difference from random" in text and "Seconds at 8" in text
    assert "test: NLL in nats per response token" in text, "the budget curve"
    assert charts(cells) >= 1 + 2 + 2 + 2
