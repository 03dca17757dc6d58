"""Write the generated parts of the documentation; with --check, only say which are out of date."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BEGIN: Final = "<!-- methods:begin -->\n"
END: Final = "<!-- methods:end -->\n"
HELP: Final = "reports/cli-help.txt"


def main() -> int:
    """Write, or with ``--check`` compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in generated() if not _is(path, text)]
    for path, text in stale:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name} is out of date; run: make docs", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if check and stale else 0


def generated() -> Iterator[tuple[Path, str]]:
    """Yield every file with generated parts, and what its whole text should be."""
    from curate.registry import methods_overview, methods_table

    for name, table in (
        ("README.md", methods_overview()),
        ("selectors/README.md", methods_table()),
    ):
        path = ROOT / name
        yield path, replaced(path.read_text(encoding="utf-8"), table, name)
    yield ROOT / HELP, help_text()


def replaced(text: str, table: str, name: str) -> str:
    """Put the table between the two markers of a text; raise `ValueError` if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{name} lacks the markers {BEGIN.strip()} and {END.strip()}; add both")
    return f"{before}{begin}{table}{end}{after}"


def help_text() -> str:
    """Return ``--help`` of the command and of each subcommand, 100 columns wide, without colour."""
    os.environ.update(TERMINAL_WIDTH="100", COLUMNS="100", NO_COLOR="1", TERM="dumb")
    from typer.testing import CliRunner

    from curate.cli.app import COMMANDS, app

    runner = CliRunner()
    pages = []
    for words in ([], *([command] for command in COMMANDS)):
        result = runner.invoke(app, [*words, "--help"], prog_name="curate")
        lines = [line.rstrip() for line in result.output.strip().splitlines()]
        pages.append("\n".join([f"$ curate {' '.join([*words, '--help'])}", *lines]))
    return "\n\n".join(pages) + "\n"


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
