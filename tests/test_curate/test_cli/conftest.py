"""Run the command line in this process, and a small pool to run it on."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def result(self) -> str:
        """What stdout has besides the document of an error, which ``--json`` gives."""
        if not self.out.startswith('{\n  "error": {'):
            return self.out
        assert set(self.json) == {"error"}
        assert self.json["error"]["message"] in self.err
        return ""


Curate = Callable[..., Ran]


@pytest.fixture
def curate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Curate:
    """Run `curate ARGS` in an empty folder and return its exit code and output."""
    from curate.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def pool_file(tmp_path: Path) -> Path:
    """Eight instructions with three responses each, and two with one."""
    words = ["red", "green", "blue", "cyan", "plum", "gold", "grey", "teal"]
    rows = [
        {"id": f"{word}-{n}", "prompt": f"Say {word}.", "response": f"{word} " * n + "indeed"}
        for word in words
        for n in (1, 2, 3)
    ]
    rows += [{"id": f"lone-{n}", "prompt": f"Count to {n}.", "response": f"{n}"} for n in (4, 5)]
    return write_rows(tmp_path / "pool.jsonl", rows)
