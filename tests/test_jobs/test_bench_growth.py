"""The page of growth: what is left out and why, what a stopped run keeps, what holds the figure back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from curate.registry import names
from jobs.bench import methods_growth
from jobs.bench.children import Finished
from jobs.bench.figure import QUICK, Bench, Goal
from jobs.bench.growth_page import GrowthPage, Line, Size, markdown
from jobs.bench.methods_growth import NOT_MEASURED, PAIRS, growth_figure, refused

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
FACTS = {"commit": "c0ffee", "date": "today", "cpu": "abacus", "cores": "2"}
LINEAR = Goal("<=", 1.15, "exponent")


def line(name, seconds, limit=1.15, pairs=""):
    """Return a line of ten, a hundred and so on examples."""
    sizes = [Size(10 ** (1 + k), spent, 50 * MIB) for k, spent in enumerate(seconds)]
    return Line(name, sizes, limit, "", pairs)


def bench(folder, **changes):
    made = Bench(replace(QUICK, methods=(40, 400)), inputs=None, out=folder, facts=FACTS)
    return replace(made, **changes)


def test_what_is_said_of_methods_is_said_of_methods_there_are():
    assert set(NOT_MEASURED) <= set(names("procedure"))
    assert set(PAIRS) <= set(names("selector"))


def test_a_size_is_left_out_by_the_time_and_the_memory_of_those_before():
    slow = [Size(1_000, 0.1, 50 * MIB), Size(10_000, 5.0, 50 * MIB)]
    assert refused(slow[:1], 10_000) == ""
    assert refused(slow, 100_000) == "100,000 left out: about 250 s"
    large = [Size(1_000, 0.01, 1024 * MIB), Size(10_000, 0.1, 4 * 1024 * MIB)]
    assert refused(large, 100_000) == "100,000 left out: about 34 GiB"
    assert refused([Size(1_000, 0.2, MIB), Size(10_000, 0.1, MIB)], 100_000) == ""


def test_the_figure_is_the_steepest_that_compares_no_pairs_and_any_other_holds_it_back():
    lines = [line("even", [1, 10]), line("flat", [1, 2]), line("every", [1, 100], 2.1, "pairs")]
    figure = growth_figure("growth", lines, LINEAR, "what")
    assert figure.value == pytest.approx(1) and figure.passed
    assert "1 of them comparing pairs" in figure.detail
    held = growth_figure("growth", [*lines, line("worse", [1, 200], 2.1, "pairs")], LINEAR, "what")
    assert held.value == pytest.approx(1) and not held.passed
    assert "; over their goals: worse" in held.detail


@pytest.fixture
def children(monkeypatch):
    """Two selectors whose measurement is counted, the second of which is stopped once."""
    asked = []

    def child(step, *given, profiler=None):
        if step is methods_growth.measure_sort:
            asked.append("sort")
            return Finished(line("sort", [1, 11]), 0)
        asked.append(given[0])
        if asked.count("second") == 1 and given[0] == "second":
            raise KeyboardInterrupt
        return Finished(line(given[0], [1, 10], given[2]), 0)

    monkeypatch.setattr(methods_growth, "in_child", child)
    monkeypatch.setattr(
        methods_growth, "names", lambda kind: ["first", "second"] if kind == "selector" else []
    )
    return asked


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"keep": True}, ["second"]),
        ({}, ["sort", "first", "second"]),
        ({"keep": True, "facts": {**FACTS, "commit": "other"}}, ["sort", "first", "second"]),
    ],
)
def test_a_stopped_run_is_gone_on_with_where_it_is_kept(tmp_path, children, changes, again):
    with pytest.raises(KeyboardInterrupt):
        methods_growth.methods(bench(tmp_path))
    assert not (tmp_path / "growth.md").exists()
    del children[:]
    children.append("second")  # is not stopped again
    figure = methods_growth.methods(bench(tmp_path, **changes))
    assert children[1:] == again
    assert figure.goal == "<= 1.09 exponent"
    page = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert "| first | 1 s | 10 s | 1.00 | <= 1.09 | met | 50 MiB |  |" in page
    assert "| sort | 1 s | 11 s | 1.04 |  |  | 50 MiB |  |" in page


def test_each_figure_keeps_the_lines_of_the_other(tmp_path):
    GrowthPage.open(bench(tmp_path), "uses").add(line("uses", [1]))  # is stopped
    for section in ("selectors", "uses"):
        page = GrowthPage.open(bench(tmp_path), section)
        page.add(line(section, [1, 10]))
        page.finish("A note.", {"other": "trains a model"})
    text = (tmp_path / "growth.md").read_text(encoding="utf-8")
    assert "| selectors | " in text and "| uses | " in text
    assert "- other: trains a model" in text
    assert (tmp_path / "growth.svg").read_text(encoding="utf-8").startswith("<svg ")
    other_sizes = bench(tmp_path, sizes=replace(QUICK, methods=(4, 40)))
    page = GrowthPage.open(other_sizes, "uses")
    page.add_sizes({"uses": Size(10, 1.0, MIB)}, 1.15)
    page.add_sizes({"uses": Size(100, 1.0, MIB)}, 1.15)
    page.add_sizes({"uses": Size(1_000, 10.0, MIB)}, 1.15)
    assert page.has_size(100) and not page.has_size(4)
    assert page.lines[0].exponent == pytest.approx(1), "through the last two"
    page.finish("", {})
    assert "| selectors | " not in (tmp_path / "growth.md").read_text(encoding="utf-8")


def test_the_committed_page_is_written_from_its_numbers():
    reports = ROOT / "reports"
    document = json.loads((reports / "growth.json").read_text(encoding="utf-8"))
    assert (reports / "growth.md").read_text(encoding="utf-8") == markdown(document)
    sizes = {len(one["sizes"]) for one in document["selectors"]["lines"]}
    assert min(sizes) >= 2
