"""The benchmark runs from end to end and reports what it measured."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from curate.registry import names
from jobs.bench import growth
from jobs.bench.children import Finished, in_child, peak_bytes
from jobs.bench.command import FIGURES, main
from jobs.bench.figure import QUICK, Bench, Figure, Goal, judged, unmeasured
from jobs.bench.nearest import THRESHOLD, one_by_one, planted_copies
from jobs.bench.paired import Paired
from jobs.bench.report import Report, show, summary, write

ROOT = Path(__file__).resolve().parents[2]
DIFFERENCES = ("MiB", "exponent", "of it")  # of tiny runs these can be below zero
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
@pytest.mark.timeout(900)  # thirty processes, a minute on a machine of its own
def test_quick_run_measures_every_figure(tmp_path):
    printed = bench("--quick", "--out", str(tmp_path))
    report = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert list(figures) == list(FIGURES)
    left = [name for name, figure in figures.items() if figure["value"] is None]
    assert left == ([] if find_spec("trl") else ["train-trl"])
    for name in figures.keys() - left:
        figure = figures[name]
        assert math.isfinite(figure["value"])
        assert figure["unit"] in DIFFERENCES or figure["value"] > 0
        assert figure["detail"] and figure["reference"] and figure["goal"]
    assert set(report["machine"]) >= FACTS
    assert report["summary"] in printed
    assert any(note.startswith("quick sizes") for note in report["notes"])
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert all(f"| {name} | " in page for name in FIGURES)
    page = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert all(f"| {name} | " in page for name in names("selector"))
    assert all(f"- {name}: " in page for name in names("procedure"))
    assert "| why-not | " in page
    if left:
        pytest.skip("trl is not installed: train-trl was not measured")


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
    write(Report([slow, fast], {"cpu": "abacus"}, ["a note"], {}), tmp_path)
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| slow | 0.500 x | >= 1 x | **FELL SHORT** | what |" in page
    assert "| fast | 1.500 x | >= 1 x | met | what |" in page
    assert summary([slow, fast]) == "1 of 2 figures fell short: slow"


def test_figure_that_was_not_measured_is_visible_and_falls_not_short(tmp_path, capsys):
    fast = Figure("fast", 1.5, "x", ">= 1 x", True, "what", "how")
    slow = Figure("slow", 0.5, "x", ">= 1 x", False, "what", "how")
    absent = unmeasured("absent", Goal(">=", 1, "x"), "what", "pip install abacus")
    assert summary([fast, fast, absent]) == "all 2 figures met their goals; not measured: absent"
    assert summary([slow, fast, absent]) == "1 of 2 figures fell short: slow; not measured: absent"
    write(Report([fast, absent], {"cpu": "abacus"}, [], {}), tmp_path)
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| absent | not measured: pip install abacus | >= 1 x |  | what |" in page
    assert "**absent**" not in page
    assert Report.read(tmp_path).figures == [fast, absent]
    show([fast, absent], [], Console(width=200))
    assert "not measured: pip install abacus" in capsys.readouterr().out


def test_lines_below_the_table_are_not_broken_at_the_width(capsys):
    slow = [Figure(f"slow-{n}", 0.5, "x", ">= 1 x", False, "what", "how " * 50) for n in range(40)]
    show(slow, ["a note " * 30], Console(width=80))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == summary(slow)
    assert lines[-2] == "a note " * 30
    assert lines[-3] == f"slow-39: {slow[-1].detail}"


MACHINE = {"cpu": "abacus", "cores": "2", "memory": "1 GiB", "system": "wood", "python": "3"}


def figure_of(name, value):
    return Figure(name, value, "x", ">= 1 x", value >= 1, "what", "how")


def test_later_figures_take_the_place_of_earlier_ones(tmp_path):
    first = Report(
        [figure_of("a", 1.0), figure_of("b", 0.5)], {**MACHINE, "date": "1", "commit": "old"},
        ["a note"], {},
    )  # fmt: skip
    write(first, tmp_path)
    later = {**MACHINE, "date": "2", "commit": "new"}
    both = Report.read(tmp_path).with_later(
        [figure_of("b", 2.0), figure_of("c", 3.0)], later, ["a note", "another"]
    )
    write(both, tmp_path)
    read = Report.read(tmp_path)
    assert read == both
    assert [(figure.name, figure.value) for figure in read.figures] == [
        ("a", 1),
        ("b", 2),
        ("c", 3),
    ]
    assert read.facts["commit"] == "old"
    assert read.all_notes() == [
        "a note", "another",
        "measured in another run on the same machine, at commit new (2): b, c",
    ]  # fmt: skip
    again = read.with_later([figure_of("b", 4.0)], {**later, "date": "3", "cpu": "bones"}, [])
    assert again.all_notes()[2:] == [
        "measured in another run on the same machine, at commit new (2): c",
        "measured in another run on bones, 2 cores, at commit new (3): b",
    ]
    page = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "all 3 figures met their goals" in page
    assert "- measured in another run on the same machine, at commit new (2): b, c" in page


def test_a_whole_run_keeps_what_it_did_not_measure_behind_its_own():
    facts = [{**MACHINE, "date": f"{n}", "commit": f"c{n}"} for n in (1, 2, 3)]
    first = Report([figure_of("a", 1.0), figure_of("b", 1.0)], facts[0], ["old"], {})
    both = first.with_later([figure_of("large", 1.0)], facts[1], [])
    new = Report([figure_of("a", 2.0)], facts[2], ["new"], {}).with_earlier(both)
    assert [(one.name, one.value) for one in new.figures] == [("a", 2), ("b", 1), ("large", 1)]
    assert new.facts["commit"] == "c3"
    assert new.all_notes() == [
        "new",
        "measured in another run on the same machine, at commit c1 (1): b",
        "measured in another run on the same machine, at commit c2 (2): large",
    ]


def test_figures_are_kept_of_a_report_of_the_same_sizes_only(tmp_path, capsys):
    words = ["--quick", "--only", "import", "--keep", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        main(words)
    assert "bench.json to keep figures of; leave out --keep" in capsys.readouterr().err
    write(Report([figure_of("a", 1.0)], MACHINE, ["full sizes"], {}), tmp_path)
    with pytest.raises(SystemExit):
        main(words)
    assert "was measured at other sizes" in capsys.readouterr().err


def test_exponent_is_the_slope_in_logarithms():
    assert growth.exponent([10, 100, 1_000], [0.5, 5.0, 50.0]) == pytest.approx(1)
    assert growth.exponent([10, 100], [1.0, 100.0]) == pytest.approx(2)


def test_a_size_that_takes_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(growth, "in_child", lambda _, step, n, profiler: Finished(step(n), 0))
    bench = Bench(replace(QUICK, growth=(1_000, 10_000, 100_000)), inputs=None)
    grown = growth.measure_growth(bench, lambda n: n**2 / 1e6)
    figure = grown.figure("squares", "squares", goal=Goal("<=", 2.1, "exponent"))
    assert figure.value == pytest.approx(2)
    assert figure.passed
    assert figure.detail == (
        "1,000 rows 1 s, 10,000 rows 100 s; 100,000 rows would take over 120 s and are left out; one "
        "run each, on one core"
    )
    assert not grown.figure("squares", "squares").passed


def test_copies_are_those_that_the_published_loop_keeps_out():
    from curate.algorithms.cosine import apart
    from curate.contracts.view import Vectors

    points = planted_copies(60)
    kept = one_by_one(points)
    assert 30 < len(kept) < 60
    assert apart(Vectors(points), np.arange(60), THRESHOLD).tolist() == kept


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
