"""The figures as a table to read, as Markdown and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from jobs.bench.figure import Figure


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the figures; one that fell short is red."""
    table = Table("figure", "measured", "goal", "", "what", title="Speed and memory")
    for figure in figures:
        table.add_row(
            figure.name,
            measured(figure),
            figure.goal,
            verdict(figure),
            figure.reference,
            style=None if figure.passed else "bold red",
        )
    console.print(table)
    for figure in figures:
        console.print(f"{figure.name}: {figure.detail}", highlight=False, markup=False)


def write(
    figures: Sequence[Figure], facts: Mapping[str, str], notes: Sequence[str], folder: Path
) -> None:
    """Write ``bench.md`` and ``bench.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "summary": summary(figures),
        "machine": dict(facts),
        "notes": list(notes),
        "figures": [asdict(figure) for figure in figures],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / "bench.json").write_text(text, encoding="utf-8")
    (folder / "bench.md").write_text(_markdown(figures, facts, notes), encoding="utf-8")


def summary(figures: Sequence[Figure]) -> str:
    """Say how many figures met their goals, and name those that fell short."""
    short = [figure.name for figure in figures if not figure.passed]
    if not short:
        return f"all {len(figures)} figures met their goals"
    return f"{len(short)} of {len(figures)} figures fell short: {', '.join(short)}"


def measured(figure: Figure) -> str:
    """Return a figure's value with its unit, as many digits as matter."""
    value = figure.value
    digits = 0 if value >= 1000 else 1 if value >= 100 else 3
    return f"{value:,.{digits}f} {figure.unit}"


def verdict(figure: Figure) -> str:
    """Return ``met`` or ``FELL SHORT``."""
    return "met" if figure.passed else "FELL SHORT"


def _markdown(figures: Sequence[Figure], facts: Mapping[str, str], notes: Sequence[str]) -> str:
    lines = ["# Speed and memory", "", f"`make bench`: {summary(figures)}.", ""]
    lines += [f"- {note}" for note in notes]
    lines += ["", "| figure | measured | goal | | what |", "|---|---|---|---|---|"]
    lines += [
        f"| {f.name} | {measured(f)} | {f.goal} | "
        f"{'met' if f.passed else '**FELL SHORT**'} | {f.reference} |"
        for f in figures
    ]
    lines += ["", "## Details", ""]
    lines += [f"- **{figure.name}**: {figure.detail}" for figure in figures]
    lines += ["", "## Machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines) + "\n"
