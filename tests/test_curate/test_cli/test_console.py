"""What a terminal of 80 columns shows: no id in two lines, no warning twice."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reported import proof_document

from curate.cli.console import LINE_INTERVAL_S, Coloured, emit, joined, progress, table
from curate.cli.prove import comparison_tables
from curate.cli.status import _state, short_paths

ID = "e40cff2d24aa74d9"


def test_narrow_columns_keep_their_cells_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = table(("set_id", "reason", "scored"), [(ID, "word " * 40, 12_345)])
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(ID in line and "12,345" in line for line in lines) == 1
    assert text.count("word") == 40


def test_the_speed_is_that_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("curate.cli.console.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no terminal, which gets bars
    with progress(quiet=False) as lines:
        lines.start("scoring", 500, "examples", done=230)
        now[0] += LINE_INTERVAL_S
        lines.advance("scoring", 5 * int(LINE_INTERVAL_S))
        lines.finish("scoring")
        said = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert said == "scoring: 280 of 500 examples, 5/s, 10 s, 44 s left\n"


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


def test_status_says_how_much_of_the_pool_a_score_set_covers(curate, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "response": f"r {i}"} for i in range(6)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0
    assert curate("select", "--method", "random", "-b", "3", "-o", "half.jsonl").code == 0
    selection = curate("status", "--json").json["selections"][0]["selection_id"]
    assert curate("score", "--scorer", "mtld", "--within", selection).code == 0
    assert "partial: 50%, 3 of 6" in curate("status").out
    assert curate("score", "--scorer", "text_stats").code == 0
    assert "complete" in curate("status").out


def test_a_score_set_is_unfinished_or_of_an_earlier_pool_in_words() -> None:
    one = {
        "set_id": ID, "aliases": ["ifd"], "n_examples": 950, "n_failed": 2, "partial": False,
        "complete": False, "stale": False,
    }  # fmt: skip
    assert _state(one, 2_500) == "unfinished: 38%, 950 of 2,500"
    assert _state({**one, "n_examples": 2_499}, 2_500) == "unfinished: 99%, 2,499 of 2,500"
    assert _state(one, 2_500, 300) == "unfinished: 50%, 1,250 of 2,500"
    assert _state({**one, "stale": True}, 2_500) == "the pool changed since"
    assert _state({**one, "complete": True}, 2_500) == "complete"


def test_the_table_of_a_scoring_run_fits_80_columns(
    curate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"prompt": f"p {i}", "response": f"r {i}"} for i in range(3)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0
    lines = curate("score", "--scorer", "mtld").out.splitlines()
    assert lines[1].split() == [
        "score",
        "set",
        *["alias", "scored", "reused", "failed", "tokens", "seconds"],
    ]
    assert max(map(len, lines)) <= 80


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
    assert chosen.code == 2, "nothing has scored it, so that the selection would fail as well"
    assert "likelihood.mean_logp" in chosen.err
    grape = curate("select", "--method", "grape", "-b", "2", "-m", tiny_model, "--dry-run")
    assert "no instruction here has two (4 examples, 4 instructions)" in grape.err


def test_how_data_is_read_is_an_error_without_data(curate, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "response": "r"} for i in range(4)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert curate("ingest", "pool.jsonl").code == 0
    ran = curate("select", "--method", "random", "-b", "2", "--source", "toys", "--split", "dev")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "ConfigError: --split, --source say how DATA is read, and none is given: name the data, or leave "
        "them out; to narrow the pool by source: --where \"source = 'NAME'\"\n"
    )
    assert (
        curate("select", "pool.jsonl", "--method", "random", "-b", "2", "--on-error", "skip").code
        == 0
    )


GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Draw on a colour terminal, with these variables of the environment changed."""

    def draw(make: Callable[[], str], **variables: str) -> str:
        monkeypatch.delenv("NO_COLOR", raising=False)
        for name, value in {"TERM": "xterm", "COLUMNS": "100", **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        return make()

    return draw


def proof_tables() -> str:
    return joined(["\x1b[2Jfirst", *comparison_tables(proof_document())])


def test_a_colour_terminal_shows_verdicts_in_colour(drawn: Callable[..., str]) -> None:
    text = drawn(proof_tables)
    assert text.count(f"{GREEN}better") == 2 and text.count(PLAIN) == 2
    assert text.count("\x1b") == 4, "nothing else has a colour"
    assert text.startswith("\\u001b[2Jfirst")


def test_what_is_drawn_is_printed_as_it_is(drawn, capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, False, drawn(proof_tables))
    assert GREEN in capsys.readouterr().out


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_whoever_wants_no_colour_gets_none(drawn, variables: dict[str, str]) -> None:
    assert "\x1b" not in drawn(proof_tables, **variables)


def test_a_file_gets_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in proof_tables()


def test_names_in_a_coloured_table_command_nothing(drawn: Callable[..., str]) -> None:
    hostile = "\x1b[2Ja"
    text = drawn(lambda: table((hostile, "b"), [(hostile, Coloured(hostile, "red"))], hostile))
    assert text.count("\\u001b[2Ja") == 4
    assert text.count("\x1b") == 2 and f"{RED}\\u001b[2Ja{PLAIN}" in text
