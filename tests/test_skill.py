"""SKILL.md: its block runs, its commands and methods exist, its keys are those of the documents."""

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate import registry
from curate.api.commands.catalogue import COMMANDS
from curate.api.commands.groups import flags_of
from curate.cli import main

SKILL = (Path(__file__).resolve().parent.parent / "SKILL.md").read_text(encoding="utf-8")
KEYS = {
    command.strip(" `"): re.findall(r"`(\w+)`", keys)
    for command, keys in re.findall(r"^\| (.*?) \| (.*) \|$", SKILL.split("## What the documents")[1], re.MULTILINE)
}  # fmt: skip


def block() -> list[str]:
    return SKILL.split("```bash\n")[1].split("```")[0].splitlines()


def commands() -> Iterator[list[str]]:
    """Yield every command of the page as words."""
    for line in [*block(), *re.findall(r"`(curate [a-z].*?)`", SKILL)]:
        yield shlex.split(line)[1:]


@pytest.fixture
def documents(tmp_path, monkeypatch, capsys) -> dict[str, Any]:
    """Return what the commands of the block print, by command, on data of the reader's own."""
    rows = [{"prompt": f"Say {n}.", "response": f"Well, it is {n} of {n + 1}."} for n in range(30)]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.chdir(tmp_path)
    printed = {}
    for line in block():
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        assert ended.value.code == 0, f"{line}\n{shown.err}"
        printed[line.split()[1]] = json.loads(shown.out)
    monkeypatch.setattr(sys, "argv", ["curate", "status", "--store", "none.duckdb", "--json"])
    with pytest.raises(SystemExit):
        main()
    return {**printed, "any, on an error": json.loads(capsys.readouterr().out)["error"]}


def test_the_block_runs_and_its_documents_hold_the_keys_of_the_table(documents) -> None:
    assert len(documents) == 7
    for command, keys in KEYS.items():
        if command not in documents:
            continue
        document = documents[command]
        inner = document["score_sets"][0] if command == "score" else {"error": None}
        assert set(keys) <= {*document, *inner}, command
    assert {"ingest", "score", "select", "status", "any, on an error"} <= set(KEYS)


def test_every_command_has_its_flags_and_every_method_and_scorer_exists() -> None:
    seen = 0
    for words in commands():
        if words[0] not in COMMANDS:
            continue
        known = {option.flag for option in flags_of(COMMANDS[words[0]])}
        short = {f"-{option.declared.short.lstrip('-')}" for option in flags_of(COMMANDS[words[0]])}
        flags = [word for word in words if re.match(r"--?[a-z]", word)]
        assert set(flags) <= known | short, words
        for flag, kind in (("--method", "method"), ("--methods", "method"), ("--scorer", "scorer")):
            if flag in words:
                for name in words[words.index(flag) + 1].split(","):
                    registry.get(kind, name) if kind == "scorer" else registry.get_method(name)
        seen += 1
    assert seen > 15
