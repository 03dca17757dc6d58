"""Forgetting asks first, and a selection that lost examples says so when it is reproduced."""

import sys
from pathlib import Path

import pytest

WHERE = ("--where", "starts_with(prompt, 'Count to 4')")


def test_it_asks_on_a_terminal_and_takes_yes_elsewhere(
    curate, pool_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curate("ingest", pool_file)
    nobody = curate("forget", *WHERE)
    assert (nobody.code, nobody.out) == (2, "")
    assert nobody.err == (
        "ConfigError: nobody can be asked here whether to forget 1 example (1 row); add --yes\n"
    )
    assert curate("forget", *WHERE, "--dry-run").out == "would forget 1 example (1 row)\n"
    assert curate("forget", "--where", "n_chars > 99999").out == "forgot 0 examples (0 rows)\n"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(text: str, **_options: object) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr("curate.cli.console.typer.confirm", answer)
    assert curate("forget", *WHERE).err == "ConfigError: 1 example (1 row) are kept\n"
    assert asked == ["Forget 1 example (1 row)?"]
    assert curate("forget", *WHERE, "--yes").out == "forgot 1 example (1 row)\n"


def test_reproduce_names_what_was_forgotten(curate, pool_file: Path) -> None:
    curate("select", pool_file, "--method", "random", "-b", "26", "-o", "all.jsonl")
    curate(
        "select", "--method", "random", "-b", "90%", "--where", "n_chars > 0", "-o", "some.jsonl"
    )
    report = curate("forget", *WHERE, "-y", "--json").json
    assert report["n_selected"] >= 1
    lost = curate("reproduce", "all.jsonl.manifest.json")
    assert lost.code != 0
    assert lost.err == (
        "StoreError: 1 of its examples was forgotten, so that it cannot be the same: budget 26 asks for "
        "26 examples, but only 25 are eligible; give at most --budget 25\n"
    )
    if report["n_selected"] == 2:
        some = curate("reproduce", "some.jsonl.manifest.json", "--json").json
        assert not some["identical"]
        assert some["differences"][0] == (
            "1 of its examples was forgotten, so that it cannot be the same"
        )
