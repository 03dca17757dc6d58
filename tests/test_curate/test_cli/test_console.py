"""What a terminal of 80 columns shows: no id in two lines, no warning twice."""

import json
from pathlib import Path

import pytest

from curate.cli.console import table
from curate.cli.status import short_paths

ID = "e40cff2d24aa74d9"


def test_narrow_columns_keep_their_cells_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = table(("set_id", "reason", "scored"), [(ID, "word " * 40, 12_345)])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(ID in line and "12,345" in line for line in lines) == 1
    assert text.count("word") == 40


def test_nothing_is_lost_where_no_column_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    text = table(("a", "b", "c"), [(ID, ID[::-1], "x" * 30)])
    assert max(map(len, text.splitlines())) <= 30
    assert text.count("x") == 30


def test_paths_are_shown_by_what_tells_them_apart() -> None:
    paths = [
        "/runs/a/last",
        "/runs/b/last",
        "/models/smollm2",
        "org/model",
        None,
        "/models/smollm2",
    ]
    assert short_paths(paths) == ["a/last", "b/last", "smollm2", "org/model", None, "smollm2"]


def test_status_fits_80_columns(curate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"prompt": f"p {i}", "response": f"r {i}"} for i in range(3)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0
    assert curate("score", "--scorer", "mtld").code == 0
    assert curate("select", "--method", "random", "-b", "2").code == 0
    document, text = curate("status", "--json").json, curate("status").out
    assert max(map(len, text.splitlines()[1:])) <= 80
    for whole in (
        document["datasets"][0]["dataset_id"], document["score_sets"][0]["set_id"],
        document["selections"][0]["selection_id"],
        document["selections"][0]["created_at"][:16].replace("T", " "),
    ):  # fmt: skip
        assert whole in text


def test_a_warning_is_printed_once(curate, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "response": "r"} for i in range(4)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = curate("select", "pool.jsonl", "--rank", "n_rows", "-b", "2")
    assert ran.code == 0
    assert (ran.err + ran.out).count("warning: ") == 1
    assert ran.err.count("warning: ") == 1


def test_grape_refuses_a_pool_without_a_choice_before_it_loads_a_model(
    curate, tmp_path: Path
) -> None:
    rows = [{"prompt": f"p {i}", "response": "r"} for i in range(4)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0
    ran = curate("select", "--method", "grape", "-b", "2", "--model", "nowhere")
    assert ran.code == 2
    assert "no instruction here has two (4 examples, 4 instructions)" in ran.err


def test_explain_shows_reasoning_and_calls(curate, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "sum", "arguments": '{"of": "2+2"}'}}
    turns = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", **call}]},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
        {"role": "assistant", "content": "Four.", "reasoning_content": "The tool says 4."},
    ]
    (tmp_path / "pool.jsonl").write_text(json.dumps({"id": "one", "messages": turns}) + "\n")
    assert curate("ingest", "pool.jsonl").code == 0
    shown = curate("explain", "one").out.splitlines()
    assert "source pool, 1 row (one), 123 characters" in shown
    assert '[assistant, call] sum({"of": "2+2"})' in shown
    at = shown.index("[assistant, reasoning] The tool says 4.")
    assert shown[at + 1] == "[assistant] Four."
    assert not any("None" in line for line in shown)


def test_a_plan_fits_80_columns_and_says_why_examples_cannot_be_scored(
    curate, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"prompt": f"p {i}", "response": "r" * 9} for i in range(3)]
    rows.append({"prompt": "word " * 9_000, "response": "r"})
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0
    shown = curate("score", "--scorer", "likelihood", "-m", tiny_model, "--dry-run").out
    (header,) = [line for line in shown.splitlines() if "pass " in line and "tokens" in line]
    assert header.split() == ["pass", "scorers", "template", "examples", "tokens"]
    assert "1 example cannot be scored: 1 prompt_exceeds_context" in shown
    chosen = curate("select", "--rank", "likelihood.mean_logp", "-b", "2", "--dry-run")
    assert chosen.code == 0
    grape = curate("select", "--method", "grape", "-b", "2", "-m", tiny_model, "--dry-run")
    assert "no instruction here has two (4 examples, 4 instructions)" in grape.err
