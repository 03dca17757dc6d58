"""Write the generated parts of the documentation; with --check, only say which are out of date."""

import argparse
import ast
import configparser
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
HELP: Final = "reports/cli-help.txt"
NOT_PACKAGES: Final = {
    "jobs/": "What you launch: recipes, benchmarks, generated documentation.",
    "reports/": "Measured results, proofs on real data, notebooks.",
    "docs/": "The documentation site: its pages, of which `make docs` writes some.",
    "tests/": "Mirrors the packages: test_curate/, test_selectors/, test_jobs/.",
}


def main() -> int:
    """Write, or with ``--check`` compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if out of date")
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
    from jobs.pages.cost import measured_figures, measured_rates
    from jobs.pages.methods import jobs_table, navigation, pages, reports_navigation
    from jobs.pages.proofs import proof_pages
    from jobs.pages.python_api import api_page

    for name, parts in {
        "README.md": {"methods": methods_overview(), "tree": tree(with_subfolders=False)},
        "CONTRIBUTING.md": {"tree": tree(with_subfolders=True)},
        "selectors/README.md": {"methods": methods_table()},
        "docs/jobs.md": {"jobs": jobs_table()},
        "docs/cost.md": {"rates": measured_rates(), "figures": measured_figures()},
        "mkdocs.yml": {"methods": navigation(), "reports": reports_navigation()},
    }.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        for part, generated_text in parts.items():
            text = replaced(text, part, generated_text, name)
        yield path, text
    yield from pages()
    yield from proof_pages()
    yield api_page()
    yield ROOT / HELP, help_text()


def replaced(text: str, part: str, generated_text: str, name: str) -> str:
    """Put a generated text between the two markers of its part; `ValueError` if they are missing."""
    begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->\n"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"{name} lacks the markers {begin.strip()} and {end.strip()}; add both")
    return f"{before}{begin}{generated_text}{end}{after}"


def tree(*, with_subfolders: bool) -> str:
    """Return the annotated tree as a Markdown block: packages by layer, described by themselves."""
    lines = [("curate/", _summary(ROOT / "curate"))]
    for layer in layers():
        path = ROOT.joinpath(*layer.split("."))
        if path.is_dir():
            lines += _folders(path, 1, with_subfolders=with_subfolders)
        else:
            lines.append((f"  {path.name}.py", _summary(path.with_suffix(".py"))))
    selectors = ROOT / "selectors" / "curate_selectors"
    lines.append(("selectors/curate_selectors/", _summary(selectors)))
    lines += [(name, text) for name, text in NOT_PACKAGES.items() if (ROOT / name).is_dir()]
    width = max(len(name) for name, _ in lines)
    body = "\n".join(f"{name:{width}}  {text}" for name, text in lines)
    return f"```text\n{body}\n```\n"


def layers() -> Sequence[str]:
    """Return the modules of ``curate`` from the top layer down, as ``.importlinter`` orders them."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter", encoding="utf-8")
    names = contract["importlinter:contract:layers"]["layers"].split()
    return [name for name in names if name.startswith("curate.")]


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


def _folders(path: Path, depth: int, *, with_subfolders: bool) -> Iterator[tuple[str, str]]:
    """Yield a package and those inside it, each with its name indented and its summary."""
    yield f"{'  ' * depth}{path.name}/", _summary(path)
    if with_subfolders:
        for inner in sorted(path.iterdir()):
            if (inner / "__init__.py").is_file():
                yield from _folders(inner, depth + 1, with_subfolders=True)


def _summary(path: Path) -> str:
    """Return the first line of the docstring of a module or package."""
    source = path / "__init__.py" if path.is_dir() else path
    documented = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8")))
    if not documented:
        raise ValueError(
            f"{source.relative_to(ROOT)} has no docstring; say in a line what it holds"
        )
    return documented.splitlines()[0]


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    sys.exit(main())
