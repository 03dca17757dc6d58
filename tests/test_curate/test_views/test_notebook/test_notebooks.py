"""The notebooks in reports/: no outputs in git, and every cell runs in a clean kernel."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_stripped_of_outputs(name):
    notebook = read(ROOT / "reports" / f"{name}.ipynb")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 7
    for cell in code:
        assert cell["outputs"] == [] and cell["execution_count"] is None
        assert cell["metadata"] == {}
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


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
        return [cell for cell in read(out)["cells"] if cell["cell_type"] == "code"]

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
def test_prove_it_runs_in_a_clean_kernel(execute, tmp_path):
    from curate.demo.pool import build_test_split

    target = tmp_path / "test.jsonl"
    rows = build_test_split(0)[:12]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    cells = execute(
        "prove-it", CURATE_TARGET=str(target), CURATE_METHODS="grape", CURATE_BUDGETS="8,16",
        CURATE_SEEDS="2", CURATE_TOKENS="1000", CURATE_BATCH_TOKENS="150",
    )  # fmt: skip
    text = "".join(pages(cells))
    assert "Paired difference from random" in text and "Seconds at 8" in text
    assert "test: NLL in nats per response token" in text, "the budget curve"
    assert charts(cells) >= 1 + 2 + 2 + 2
