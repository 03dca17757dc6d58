"""The benchmark runs from end to end and reports what it measured."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.bench.children import in_child, peak_bytes
from jobs.bench.command import FIGURES
from jobs.bench.figure import Figure, Goal, judged
from jobs.bench.paired import Paired
from jobs.bench.report import summary, write

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"cpu", "cores", "memory", "commit", "date", "python", "torch", "duckdb"}


def bench(*words: str, **variables: str) -> str:
    """Run the benchmark as ``make bench`` does; return what it printed."""
    done = subprocess.run(
        [sys.executable, "jobs/bench", *words],
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # fifteen processes, half a minute on a machine of its own
def test_quick_run_measures_every_figure(tmp_path):
    printed = bench("--quick", "--out", str(tmp_path))
    report = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert list(figures) == list(FIGURES)
    for figure in figures.values():
        assert math.isfinite(figure["value"])
        assert figure["name"] == "memory" or figure["value"] > 0
        assert figure["detail"] and figure["reference"] and figure["goal"]
    assert set(report["machine"]) >= FACTS
    assert report["summary"] in printed
    assert any(note.startswith("quick sizes") for note in report["notes"])
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert all(f"| {name} | " in page for name in FIGURES)


@pytest.mark.slow
def test_without_real_data_the_report_says_what_was_measured(tmp_path):
    bench(
        "--quick", "--only", "loops", "--out", str(tmp_path), CURATE_REALDATA=str(tmp_path / "no")
    )
    report = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    [figure] = report["figures"]
    assert figure["name"] == "loops"
    assert "too much for a comparison" not in figure["detail"]
    assert any("no ni_pool.parquet found" in note for note in report["notes"])
    assert any("no model tiny-english-6m found" in note for note in report["notes"])


@pytest.mark.slow
def test_profile_is_written_instead_of_a_report(tmp_path):
    bench("--quick", "--profile", "import", "--out", str(tmp_path))
    [path] = tmp_path.iterdir()
    assert path.name == "profile-import.txt"
    assert "curate" in path.read_text(encoding="utf-8")


def test_goal_holds_its_limit_to_the_sign():
    assert Goal(">=", 0.95, "x").met(0.95)
    assert Goal("<=", 1.25, "x").met(1.25)
    assert not Goal("<", 5, "s").met(5)
    assert str(Goal(">=", 20_000, "rows/s")) == ">= 20,000 rows/s"


def test_second_condition_holds_a_figure_back():
    assert not judged("top-k", 1.0, Goal("<", 5, "s"), "what", "how", also=False).passed


def test_figure_that_falls_short_stays_in_the_report(tmp_path):
    slow = Figure("slow", 0.5, "x", ">= 1 x", False, "what", "how")
    fast = Figure("fast", 1.5, "x", ">= 1 x", True, "what", "how")
    write([slow, fast], {"cpu": "abacus"}, ["a note"], tmp_path)
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| slow | 0.500 x | >= 1 x | **FELL SHORT** | what |" in page
    assert "| fast | 1.500 x | >= 1 x | met | what |" in page
    assert summary([slow, fast]) == "1 of 2 figures fell short: slow"


def test_ratios_pair_the_runs():
    times = Paired(ours=(1.0, 2.0, 4.0), reference=(2.0, 2.0, 2.0))
    assert times.speedups == (2.0, 1.0, 0.5)
    assert times.costs == (0.5, 1.0, 2.0)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc on this system")
def test_peak_of_a_child_is_its_own():
    held = bytearray(b"x" * 400 * 1024**2)
    assert in_child(peak_bytes).value < len(held) / 2


def test_child_that_dies_is_reported():
    with pytest.raises(RuntimeError, match=r"step '_exit' ended with exit code 3"):
        in_child(os._exit, 3)
