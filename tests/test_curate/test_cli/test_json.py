"""The documents of `--json`: the keys scripts may rely on, one document, nothing else on stdout."""

import json
from pathlib import Path

import pytest

SELECT = {
    "selection_id", "method", "n_pool", "n_eligible", "n_selected", "n_tokens", "budget", "seed",
    "output", "warnings",
}  # fmt: skip
SCORE = {
    "set_id", "alias", "scorer", "n_scored", "n_reused", "n_failed", "tokens", "wall_s",
    "content_hash",
}  # fmt: skip
INGEST = {"n_read", "n_added", "n_duplicate", "n_failed", "format"}


def test_documents_have_their_keys(curate, pool_file: Path, tiny_model: Path) -> None:
    assert set(curate("ingest", pool_file, "--json").json) >= INGEST
    scored = curate("score", "--scorer", "likelihood", "-m", tiny_model, "--json").json
    assert all(set(one) >= SCORE for one in scored["score_sets"])
    chosen = curate("select", "--method", "grape", "-m", tiny_model, "-o", "s.jsonl", "--json").json
    assert set(chosen) >= SELECT
    arguments = ("explain", "red-1", "-m", tiny_model, "--scorer", "likelihood")
    rendered = curate(*arguments, "--json").json["rendered"]
    assert set(rendered) >= {"text", "token_ids", "response_mask"}


def test_an_example_that_was_selected_is_explained_with_its_selection(
    curate, pool_file: Path
) -> None:
    curate("ingest", pool_file)
    chosen = curate("select", "--method", "random", "-b", "26", "--json").json
    (place,) = curate("explain", "red-1", "--json").json["selections"]
    assert (place["selection_id"], place["method"]) == (chosen["selection_id"], "random")
    shown = curate("explain", "red-1")
    assert (shown.code, chosen["selection_id"] in shown.out) == (0, True)


def test_commands_that_report_print_one_document(curate, pool_file: Path, tiny_model: Path) -> None:
    curate("ingest", pool_file)
    for arguments in (
        ("status",), ("methods",), ("methods", "grape"), ("doctor",), ("gc",),
        ("forget", "--where", "n_chars > 99999"),
        ("select", "--method", "random", "-b", "3", "--dry-run"),
        ("score", "--scorer", "likelihood", "-m", tiny_model, "--limit", "3"),
    ):  # fmt: skip
        assert isinstance(curate(*arguments, "--json").json, dict | list), arguments


def test_a_failure_is_a_document_too(curate, pool_file: Path) -> None:
    curate("ingest", pool_file)
    for arguments in (
        ("ingest", "none.jsonl"), ("score", "--scorer", "none"), ("select", "--method", "none"),
        ("explain", "nobody"), ("export", "--selection", "none", "-o", "x.jsonl"),
        ("reproduce", "none.json"), ("run", "none.yaml"), ("methods", "none"),
        ("status", "--store", "none.duckdb"), ("gc", "--store", "none.duckdb"),
        ("forget", "--where", "none > 1"),
    ):  # fmt: skip
        ran = curate(*arguments, "--json")
        assert ran.code in (1, 2), arguments
        error = ran.json["error"]
        assert set(ran.json) == {"error"}, arguments
        assert (error["exit_code"], ran.err) == (ran.code, f"{error['type']}: {error['message']}\n")
        assert curate(*arguments).out == "", arguments
        assert "Traceback" not in ran.err


def test_a_wrong_option_is_a_document_too(curate, pool_file: Path) -> None:
    ran = curate("select", "--json", "--budgt", "3")
    assert ran.json["error"] == {
        "type": "UsageError", "exit_code": 2,
        "message": "no such option: --budgt; did you mean '--budget'; see curate select --help",
    }  # fmt: skip


def test_what_json_has_no_number_for_is_null(capsys) -> None:
    from curate.cli.console import emit

    emit({"gain": float("nan"), "all": [float("inf"), 1.5], "n": 3}, True, "")
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "gain": None,
        "all": [None, 1.5],
        "n": 3,
    }
