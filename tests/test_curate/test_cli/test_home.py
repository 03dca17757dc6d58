"""``~`` is the home folder wherever a path is typed, in commands, recipes and Python alike."""

from pathlib import Path
from typing import Any

import pytest

import curate as cu


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "at home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def stored(curate: Any, home: Path, pool_file: Path) -> Path:
    """A store at home, with a selection."""
    pool_file.rename(home / "pool.jsonl")
    assert curate("ingest", "~/pool.jsonl", "--store", "~/s.duckdb").code == 0
    ran = curate("select", "--rank", "n_chars", "-b", "3", "--store", "~/s.duckdb")
    assert ran.code == 0, ran.err
    return home


OUTPUTS = {
    "out.jsonl": ("select", "--rank", "n_chars", "-b", "2", "-o", "~/out.jsonl"),
    "trl": ("export", "--selection", "latest", "-o", "~/trl", "--trainer", "trl"),
    "page.html": ("report", "-o", "~/page.html"),
}


@pytest.mark.parametrize("name", ["out.jsonl", "trl", "page.html"])
def test_outputs_of_commands(curate: Any, stored: Path, name: str) -> None:
    ran = curate(*OUTPUTS[name], "--store", "~/s.duckdb")
    assert ran.code == 0, ran.err
    assert (stored / name).exists()
    assert not Path("~").exists()


def test_models_and_folders_of_runs(curate: Any, stored: Path, tiny_model: Path) -> None:
    (stored / "model").symlink_to(tiny_model)
    ran = curate(
        "train", "--data", "~/pool.jsonl", "-m", "~/model", "-o", "~/run", "--epochs", "1", "--device",
        "cpu",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert (stored / "run" / "record.json").is_file()
    ran = curate(
        "score", "--scorer", "likelihood", "-m", "~/model", "--store", "~/s.duckdb", "--profile",
        "~/traces",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert list((stored / "traces").iterdir())
    assert not Path("~").exists()


def test_a_recipe_and_all_paths_in_it(curate: Any, stored: Path) -> None:
    (stored / "r.yaml").write_text(
        "store: ~/r.duckdb\ningest: {data: ~/pool.jsonl}\nselect: {rank: n_chars, budget: 2}\n"
        "export: {output: ~/r.jsonl}\n"
    )
    ran = curate("run", "~/r.yaml")
    assert ran.code == 0, ran.err
    assert len((stored / "r.jsonl").read_text().splitlines()) == 2
    assert (stored / "r.duckdb").is_file()
    ran = curate("reproduce", "~/r.jsonl.manifest.json", "-o", "~/again.jsonl")
    assert ran.code == 0, ran.err
    assert (stored / "again.jsonl").read_bytes() == (stored / "r.jsonl").read_bytes()
    assert not Path("~").exists()


def test_python(stored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    pool = cu.open("~/s.duckdb")
    chosen = pool.select("random", budget=2)
    chosen.export("~/p.jsonl")
    pool.report("~/p.html")
    pool.target.add("dev", "~/pool.jsonl")
    made = cu.open("~/new/t.duckdb", create=True)
    made.ingest("~/p.jsonl")
    for name in ("p.jsonl", "p.html", "new/t.duckdb"):
        assert (stored / name).is_file()
    assert not (tmp_path / "~").exists()
