"""The README's tour, run block by block in this process: each command would import torch again."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from curate.cli import main

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPERATORS = {"|", "||", "&", "&&", ";", "<", ">", ">>", "(", ")"}


def tour() -> list[tuple[str, str]]:
    """Return the language and the text of every block; the first makes the demo and enters it."""
    return BLOCK.findall(README.split("## A tour in 60 seconds")[1].split("## Methods")[0])


def run_block(kind: str, text: str, folder: Path) -> Path:
    """Run a block in a folder; return the folder it ends in. A command that fails is an error."""
    with contextlib.chdir(folder), patch.dict("os.environ", COLUMNS="120"):
        if kind == "python":
            exec(compile(text, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102
        else:
            for line in text.replace("\\\n", " ").splitlines():
                _run_line(line)
        return Path.cwd()


def _run_line(line: str) -> None:
    words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    parts = shlex.split(line, comments=True)
    if not parts:
        return
    if parts[0] == "cd":
        [folder] = parts[1:]
        os.chdir(folder)
        return
    if parts[0] != "curate" or OPERATORS & set(words):
        subprocess.run(["bash", "-ec", line], check=True)
        return
    code: object = 0
    with patch.object(sys, "argv", parts):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    assert code == 0, f"{line} ended with {code}"
