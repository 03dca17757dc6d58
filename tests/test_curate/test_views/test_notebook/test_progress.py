"""Progress where a notebook runs, and silence where none does."""

import sys
from types import SimpleNamespace

import pytest
from reported import parse

import curate as cu
from curate.contracts.progress import SilentProgress
from curate.views.notebook.progress import KernelProgress, MarimoProgress, notebook_progress


class Display:
    """Records what `IPython.display` is told."""

    def __init__(self):
        self.calls = []

    def display(self, data, **how):
        self.calls.append((data, how))


def test_outside_of_a_notebook_a_pool_is_silent(tmp_path):
    assert notebook_progress() is None
    assert isinstance(cu.open(tmp_path / "curate.duckdb", create=True).progress, SilentProgress)


def test_a_terminal_with_ipython_is_no_notebook(monkeypatch):
    shell = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert notebook_progress() is None


@pytest.fixture
def kernel(monkeypatch):
    display = Display()
    shell = SimpleNamespace(kernel=object(), execution_count=1)
    module = SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", module)
    display.shell = shell
    return display


def test_a_kernel_shows_one_output_a_cell_that_is_replaced_in_place(kernel, tmp_path):
    progress = cu.open(tmp_path / "curate.duckdb", create=True).progress
    assert isinstance(progress, KernelProgress)
    progress.start("scoring <b>", 200, "examples")
    for _ in range(200):
        progress.advance("scoring <b>", 1)
    progress.finish("scoring <b>")
    progress.note("detected \x1b[31m")
    assert len(kernel.calls) < 20, "drawn at most five times a second"
    assert len({how["display_id"] for _, how in kernel.calls}) == 1
    assert [how["update"] for _, how in kernel.calls] == [False] + [True] * (len(kernel.calls) - 1)
    first, last = kernel.calls[0][0], kernel.calls[-1][0]
    assert first["text/plain"] == "scoring <b>: 0 of 200 examples, 0 s"
    assert last["text/plain"].endswith("detected ⟨U+001B⟩[31m")
    assert last["text/plain"].startswith("scoring <b>: 200 examples, ")
    for data, _ in kernel.calls:
        assert parse(data["text/html"]).names() <= {"div", "progress", "pre", "i"}
    kernel.shell.execution_count = 2
    progress.note("another cell")
    data, how = kernel.calls[-1]
    assert data["text/plain"] == "another cell" and how["update"] is False


def test_many_lines_are_folded_away_but_warnings(kernel):
    progress = notebook_progress()
    progress.note("warning: 3 texts were cut")
    for k in range(20):
        progress.note(f"trial {k}")
    page = kernel.calls[-1][0]["text/html"]
    before, _, after = page.partition("</details>")
    assert "15 earlier lines" in before and "trial 13" in before
    assert "trial 13" not in after and "trial 14" in after and "warning: 3 texts" in after


def test_an_interrupted_stage_is_forgotten_with_its_cell(kernel):
    progress = notebook_progress()
    progress.start("scoring", None, "examples")
    kernel.shell.execution_count = 2
    progress.start("reading", 4, "parts")
    assert "scoring" not in kernel.calls[-1][0]["text/html"]


def test_what_an_earlier_run_did_says_nothing_of_the_time_left(kernel, monkeypatch):
    progress = notebook_progress()
    progress.start("train", 200, "steps", done=100)
    assert kernel.calls[-1][0]["text/plain"] == "train: 100 of 200 steps, 0 s"
    later = progress._stages["train"].began + 10
    monkeypatch.setattr("curate.views.notebook.progress.time.monotonic", lambda: later)
    progress.advance("train", 50)
    assert kernel.calls[-1][0]["text/plain"] == "train: 150 of 200 steps, 10 s, about 10 s left"


def test_a_kernel_shows_real_work(kernel, tmp_path):
    from reported import colour_rows, write_rows

    path = write_rows(tmp_path / "pool.jsonl", colour_rows())
    cu.open(tmp_path / "curate.duckdb", create=True).ingest(str(path))
    said = [data["text/plain"] for data, _ in kernel.calls]
    assert any("12 rows" in text for text in said)


def test_marimo_gets_its_own_bars(monkeypatch):
    done = []

    class Bar:
        def __init__(self, **facts):
            done.append(("made", facts))

        def __enter__(self):
            return self

        def __exit__(self, *stop):
            done.append(("closed", {}))

        def update(self, **facts):
            done.append(("update", facts))

    marimo = SimpleNamespace(
        running_in_notebook=lambda: True,
        status=SimpleNamespace(progress_bar=Bar, spinner=Bar),
        output=SimpleNamespace(append=lambda one: done.append(("said", one))),
        plain_text=lambda text: text,
    )
    monkeypatch.setitem(sys.modules, "marimo", marimo)
    progress = notebook_progress()
    assert isinstance(progress, MarimoProgress)
    progress.start("scoring", 10, "examples")
    progress.advance("scoring", 4)
    progress.finish("scoring")
    progress.start("reading", None, "rows")
    progress.advance("reading", 4)
    progress.finish("reading")
    kinds = [kind for kind, _ in done]
    assert kinds == ["made", "update", "closed", "said"] * 2
    assert done[0][1]["total"] == 10 and done[1][1] == {"increment": 4}
    assert done[5][1]["subtitle"].startswith("reading: 4 rows")
    progress.start("train", 10, "steps", done=3)
    assert done[-1] == ("update", {"increment": 3})
