"""The figures as a table to read, as Markdown and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, final

from rich.console import Console
from rich.table import Table

from jobs.bench.figure import Figure

JSON: Final = "bench.json"
QUICK_NOTE: Final = "quick sizes: these numbers show that the benchmark runs, and nothing else"
_STYLES: Final = {True: None, False: "bold red", None: "yellow"}
_VERDICTS: Final = {True: "met", False: "FELL SHORT", None: ""}
_SAME_MACHINE: Final = ("cpu", "cores", "memory", "system", "python")


@final
@dataclass(frozen=True, slots=True)
class Report:
    """Figures, the machine and the notes of the run that measured them, and which another run measured.

    Parameters
    ----------
    others
        By figure, the facts of the run that measured it, where that was another.
    """

    figures: Sequence[Figure]
    facts: Mapping[str, str]
    notes: Sequence[str]
    others: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, folder: Path) -> "Report":
        """Return what `write` wrote into a folder; `FileNotFoundError` if there is nothing."""
        document: Mapping[str, Any] = json.loads((folder / JSON).read_text(encoding="utf-8"))
        return cls(
            [Figure(**figure) for figure in document["figures"]],
            document["machine"],
            document["notes"],
            document["others"],
        )

    def with_later(
        self, figures: Sequence[Figure], facts: Mapping[str, str], notes: Sequence[str]
    ) -> "Report":
        """Put figures of a later run in the place of those of the same name, or after all others."""
        new = {figure.name: figure for figure in figures}
        kept = [new.pop(figure.name, figure) for figure in self.figures]
        others = {**self.others, **{figure.name: dict(facts) for figure in figures}}
        more = [note for note in notes if note not in self.notes]
        return Report([*kept, *new.values()], self.facts, [*self.notes, *more], others)

    def with_earlier(self, earlier: "Report") -> "Report":
        """Put the figures of an earlier run that this one did not measure behind its own."""
        own = {figure.name for figure in self.figures}
        kept = [figure for figure in earlier.figures if figure.name not in own]
        others = {one.name: earlier.others.get(one.name, earlier.facts) for one in kept}
        return Report([*self.figures, *kept], self.facts, self.notes, {**self.others, **others})

    def all_notes(self) -> list[str]:
        """Return the notes, and one for each other run."""
        runs = [(facts["date"], name, facts) for name, facts in self.others.items()]
        found = list(self.notes)
        for date, of_run in groupby(sorted(runs, key=lambda run: run[0]), key=lambda run: run[0]):
            members = list(of_run)
            facts = members[0][2]
            same = all(facts[name] == self.facts[name] for name in _SAME_MACHINE)
            machine = "the same machine" if same else f"{facts['cpu']}, {facts['cores']} cores"
            names = ", ".join(name for _, name, _ in members)
            found.append(
                f"measured in another run on {machine}, at commit {facts['commit']} ({date}): {names}"
            )
        return found


def show(figures: Sequence[Figure], notes: Sequence[str], console: Console) -> None:
    """Print the figures, in red what fell short and in yellow what was not measured, and the notes."""
    table = Table("figure", "measured", "goal", "", "what", title="Speed and memory")
    for figure in figures:
        table.add_row(
            figure.name,
            measured(figure),
            figure.goal,
            verdict(figure),
            figure.reference,
            style=_STYLES[figure.passed],
        )
    console.print(table)
    details = (f"{figure.name}: {figure.detail}" for figure in _measured(figures))
    for line in (*details, *notes, summary(figures)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def write(report: Report, folder: Path) -> None:
    """Write ``bench.md`` and ``bench.json`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "summary": summary(report.figures),
        "machine": dict(report.facts),
        "notes": list(report.notes),
        "figures": [asdict(figure) for figure in report.figures],
        "others": {name: dict(facts) for name, facts in report.others.items()},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / JSON).write_text(text, encoding="utf-8")
    page = _markdown(report.figures, report.facts, report.all_notes())
    (folder / "bench.md").write_text(page, encoding="utf-8")


def summary(figures: Sequence[Figure]) -> str:
    """Say how many figures met their goals, and name those that fell short or were not measured."""
    known = _measured(figures)
    short = [figure.name for figure in known if not figure.passed]
    left = [figure.name for figure in figures if figure.value is None]
    text = (
        f"{len(short)} of {len(known)} figures fell short: {', '.join(short)}"
        if short
        else f"all {len(known)} figures met their goals"
    )
    return f"{text}; not measured: {', '.join(left)}" if left else text


def measured(figure: Figure) -> str:
    """Return a figure's value with its unit, as many digits as matter, or that there is none."""
    value = figure.value
    if value is None:
        return f"not measured: {figure.detail}"
    digits = 0 if value >= 1000 else 1 if value >= 100 else 3
    return f"{value:,.{digits}f} {figure.unit}"


def verdict(figure: Figure) -> str:
    """Return ``met`` or ``FELL SHORT``, and nothing of a figure that was not measured."""
    return _VERDICTS[figure.passed]


def _measured(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.value is not None]


def _markdown(figures: Sequence[Figure], facts: Mapping[str, str], notes: Sequence[str]) -> str:
    lines = ["# Speed and memory", "", f"`make bench`: {summary(figures)}.", ""]
    lines += [f"- {note}" for note in notes]
    lines += ["", "| figure | measured | goal | | what |", "|---|---|---|---|---|"]
    lines += [
        f"| {f.name} | {measured(f)} | {f.goal} | "
        f"{'**FELL SHORT**' if f.passed is False else verdict(f)} | {f.reference} |"
        for f in figures
    ]
    lines += ["", "## Details", ""]
    lines += [f"- **{figure.name}**: {figure.detail}" for figure in _measured(figures)]
    lines += ["", "## Machine", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines) + "\n"
