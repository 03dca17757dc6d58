"""What the two commands print."""

import json
from pathlib import Path

import pytest
from surrogates import surrogates_let_in


@pytest.fixture
def chosen(curate, pool_file: Path) -> str:
    made = curate("select", pool_file, "--rank", "n_chars", "--budget", "6", "--json")
    return made.json["selection_id"]


def test_a_trainer_export_says_what_it_wrote_and_would_upload(curate, chosen: str) -> None:
    arguments = ("export", "--selection", chosen, "-o", "subset", "--trainer", "trl")
    made = curate(*arguments, "--validation", "1", "--push-to-hub", "me/mine")
    assert made.code == 0, made.out + made.err
    lines = made.out.splitlines()
    assert lines[0] == (
        "wrote 6 rows (5 train, 1 validation) to subset; manifest subset/manifest.json"
    )
    assert lines[1].startswith(
        "would upload subset to the dataset repository me/mine (private if it is new), "
    )
    assert any(line.startswith("  train/part-00000.parquet  ") for line in lines)
    assert lines[-1] == "nothing was uploaded; add --yes to upload"
    report = curate(*arguments, "--json").json
    assert report["splits"] == {"train": 6}
    assert (report["lost"], report["warnings"]) == ([], [])


def test_what_is_lost_is_an_error_first(curate, tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "good", "rejected": "bad"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    made = curate("select", "pairs.jsonl", "--rank", "n_chars", "--budget", "1", "--json")
    arguments = ("export", "--selection", made.json["selection_id"], "-o", "subset")
    refused = curate(*arguments, "--trainer", "llama-factory")
    assert refused.code == 2
    assert "1 of 1 rows cannot be written as sharegpt for LLaMA-Factory" in refused.err
    assert refused.err.strip().endswith("has a rejected response); use --lossy to write what fits")
    made = curate(*arguments, "--trainer", "llama-factory", "--lossy")
    assert made.code == 0
    assert "lost: a rejected response: 1 row (" in made.out


@pytest.mark.slow
def test_explain_says_why_not_and_what_would_have(curate, chosen: str) -> None:
    curate("score", "--scorer", "mtld", "--quiet")
    shown = curate("explain", "red-1")
    assert shown.code == 0, shown.err
    assert "not selected" in shown.out
    assert "percentile in the pool" in shown.out
    report = curate("explain", "red-1", "--json").json
    (absent,) = report["absent"]
    assert (absent["selection_id"], absent["cause"]) == (chosen, "ranked below")
    assert absent["rank"] == int(absent["needs"]) > 6
    assert 0 <= report["percentiles"]["mtld"]["n_words"] <= 100
    kept = curate("explain", "green-3", "--json").json
    assert kept["absent"] == []
    assert kept["selections"][0]["n_selected"] == 6
    assert kept["selections"][0]["last_gain"] <= kept["selections"][0]["gain"]
    shown = curate("explain", "green-3")
    assert " of 6" in shown.out
    wrong = curate("explain", "red-1", "--selection", "nosuch")
    assert wrong.code == 2
    assert "no selection 'nosuch' in the store" in wrong.err


def test_explain_shows_half_of_a_character_and_why_it_is_not_scored(
    curate, tmp_path: Path, tiny_model: Path
) -> None:
    row = {"id": "half", "prompt": "p \ud83d", "response": "r"}
    (tmp_path / "half.jsonl").write_text(json.dumps(row) + "\n")
    with surrogates_let_in():
        assert curate("ingest", "half.jsonl").code == 0
    shown = curate("explain", "half", "--scorer", "likelihood", "--model", tiny_model)
    assert shown.code == 0, shown.err
    assert "[user] p \\ud83d" in shown.out
    assert shown.out.strip().endswith(": not scored: text_is_not_unicode")


def test_how_a_scorer_sees_an_example_needs_its_name(curate, chosen: str) -> None:
    refused = curate("explain", "red-1", "-m", "model", "--template", "chat")
    error = "--model, --template say how a scorer sees the example, and none is named: add --scorer NAME, or"
    assert (refused.code, refused.err) == (2, f"ConfigError: {error} leave them out\n")
