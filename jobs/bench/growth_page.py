"""``growth.md``, ``growth.json`` and ``growth.svg``: every line of growth, its sizes, its memory, its exponent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, final

from jobs.bench.children import MIB
from jobs.bench.figure import Bench
from jobs.bench.growth import exponent

NAME: Final = "growth"
TITLES: Final[Mapping[str, str]] = {
    "selectors": "Selectors: a tenth of a pool, from a view in memory",
    "uses": "What a store is asked",
}
_INTRODUCTION: Final = (
    "Written by `python jobs/bench --keep --only selectors-growth --only uses-growth`. Processor seconds, "
    "of selectors on one core; the exponent is the slope of their logarithm by that of the examples. Memory is the peak of the "
    "process up to the largest size, input included."
)
_LEAST_S: Final = 0.0001  # below, a clock measures itself


@final
@dataclass(frozen=True, slots=True)
class Size:
    """What one size took: examples, processor seconds, and the peak of memory up to it."""

    rows: int
    cpu_s: float
    peak_bytes: int


@final
@dataclass(frozen=True, slots=True)
class Line:
    """What is measured at several sizes.

    Parameters
    ----------
    limit
        The highest exponent that meets its goal.
    left_out
        Why larger sizes are not there; "" where none is missing.
    pairs
        Why its goal is that of comparing pairs; "" for one that is to grow with the rows.
    fitted
        How many of its largest sizes the slope goes through; 0 is all.
    """

    name: str
    sizes: Sequence[Size]
    limit: float
    left_out: str = ""
    pairs: str = ""
    fitted: int = 0

    @property
    def exponent(self) -> float:
        """Slope of log seconds by log rows, by least squares."""
        sizes = self.sizes[-self.fitted :]
        return exponent(
            [size.rows for size in sizes], [max(size.cpu_s, _LEAST_S) for size in sizes]
        )

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.exponent <= self.limit


@final
@dataclass(slots=True)
class GrowthPage:
    """The lines of one figure beside those of the other, written after each of them.

    A run that was stopped leaves them in ``growth.json``; the next one with ``--keep`` goes on from
    there if commit and sizes are the same.
    """

    folder: Path | None
    section: str
    document: dict[str, Any]
    reference: Line | None = None
    lines: list[Line] = field(default_factory=list)

    @classmethod
    def open(cls, bench: Bench, section: str) -> "GrowthPage":
        """Begin a section, or go on with one that was stopped."""
        about = {"sizes": list(bench.sizes.methods), **_about(bench.facts)}
        path = None if bench.out is None else bench.out / f"{NAME}.json"
        document: dict[str, Any] = {}
        if path is not None and path.is_file():
            document = json.loads(path.read_text(encoding="utf-8"))
        others = {
            name: one for name, one in document.items() if one["about"]["sizes"] == about["sizes"]
        }
        earlier = others.get(section)
        page = cls(bench.out, section, {**others, section: {"about": about, "finished": False}})
        if bench.keep and earlier is not None and _resumes(earlier, about):
            page.lines = [_line(one) for one in earlier["lines"]]
            page.reference = _line(earlier["reference"]) if earlier["reference"] else None
        return page

    def has(self, name: str) -> bool:
        """Return whether a line was measured before the run was stopped."""
        return any(line.name == name for line in self.lines)

    def has_size(self, n: int) -> bool:
        """Return whether a size was measured before the run was stopped."""
        return any(size.rows == n for line in self.lines for size in line.sizes)

    def add(self, line: Line) -> None:
        """Add a line, and write what there is."""
        self.lines.append(line)
        self._write()

    def add_sizes(self, found: Mapping[str, Size], limit: float) -> None:
        """Add one size to each line, whose slope goes through the last two, and write what there is."""
        before = {line.name: line.sizes for line in self.lines}
        self.lines = [
            Line(name, [*before.get(name, ()), size], limit, fitted=2)
            for name, size in found.items()
        ]
        self._write()

    def finish(self, note: str, not_measured: Mapping[str, str]) -> None:
        """Say what is to be known of all lines, what has no line and why, and write the page."""
        self.document[self.section] |= {
            "finished": True, "note": note, "not_measured": dict(not_measured),
        }  # fmt: skip
        self._write()

    def _write(self) -> None:
        self.document[self.section] |= {
            "reference": self.reference and asdict(self.reference),
            "lines": [asdict(line) for line in self.lines],
        }
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.document, indent=1, ensure_ascii=False) + "\n"
        (self.folder / f"{NAME}.json").write_text(text, encoding="utf-8")
        if self.document[self.section]["finished"]:
            (self.folder / f"{NAME}.md").write_text(markdown(self.document), encoding="utf-8")
            (self.folder / f"{NAME}.svg").write_text(drawing(self.document), encoding="utf-8")


def markdown(document: Mapping[str, Any]) -> str:
    """Return the page: a table for each section, the fastest growth last."""
    lines = [
        "# Growth with the number of examples", "",
        _INTRODUCTION, "",
        "![Exponents of every selector and of what a store is asked](growth.svg)", "",
    ]  # fmt: skip
    for section in _finished(document):
        lines += _section(TITLES[section], document[section])
    return "\n".join(lines)


def drawing(document: Mapping[str, Any]) -> str:
    """Return the exponents as a picture, of each line with the name of the section in its colour."""
    from curate.views.charts.svg import Estimate, intervals
    from curate.views.notebook.charts import Picture

    rows = []
    for section in _finished(document):
        ordered = sorted(map(_line, document[section]["lines"]), key=lambda line: line.exponent)
        for line in ordered:
            last = line.sizes[-1]
            remark = f"{last.cpu_s:.2g} s at {last.rows:,}"
            rows.append(
                Estimate(line.name, line.exponent, colour=_colour(section, line), remark=remark)
            )
    title = "Exponents: processor seconds by examples"
    label = "blue: selectors; orange: those held against pairs; green: uses of a store; dashed: 1"
    return Picture(title, intervals(rows, label, title, reference=1.0, width=760)).svg + "\n"


def _finished(document: Mapping[str, Any]) -> list[str]:
    return [name for name in TITLES if document.get(name, {}).get("finished")]


def _colour(section: str, line: Line) -> int:
    return 2 if section == "uses" else 1 if line.pairs else 0


def _section(title: str, found: Mapping[str, Any]) -> list[str]:
    about, measured = found["about"], [_line(one) for one in found["lines"]]
    sizes = sorted({size.rows for line in measured for size in line.sizes})
    head = " | ".join(f"{n:,}" for n in sizes)
    measured_on = f"Measured at commit {about['commit']} ({about['date']}) on {about['cpu']}, {about['cores']} cores."
    lines = [
        f"## {title}", "", f"{measured_on} {found['note']}".strip(), "",
        f"| what | {head} | exponent | goal | | peak | |",
        "|---|" + "---:|" * len(sizes) + "---:|---:|---|---:|---|",
    ]  # fmt: skip
    if found["reference"]:
        lines.append(_row(_line(found["reference"]), sizes, "", ""))
    for line in sorted(measured, key=lambda line: (bool(line.pairs), line.exponent)):
        verdict = "met" if line.met else "**FELL SHORT**"
        lines.append(_row(line, sizes, f"<= {line.limit:.2f}", verdict))
    without = found["not_measured"]
    if without:
        lines += ["", "Not measured:", ""]
        lines += [f"- {name}: {reason}" for name, reason in without.items()]
    return [*lines, ""]


def _row(line: Line, sizes: Sequence[int], goal: str, verdict: str) -> str:
    by_rows = {size.rows: f"{size.cpu_s:.3g} s" for size in line.sizes}
    cells = " | ".join(by_rows.get(n, "") for n in sizes)
    remarks = "; ".join(filter(None, (line.pairs, line.left_out)))
    peak = line.sizes[-1].peak_bytes / MIB
    return f"| {line.name} | {cells} | {line.exponent:.2f} | {goal} | {verdict} | {peak:,.0f} MiB | {remarks} |"


def _about(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: facts.get(name, "") for name in ("commit", "date", "cpu", "cores")}


def _resumes(earlier: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    same = all(earlier["about"][name] == about[name] for name in ("sizes", "commit", "cpu"))
    return same and not earlier["finished"]


def _line(one: Mapping[str, Any]) -> Line:
    return Line(**{**one, "sizes": [Size(**size) for size in one["sizes"]]})
