"""Runs of the GPU bench as Markdown: ``python jobs/bench/gpu/report.py gpu.json ... --out reports``."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[3]
DIGITS: Final = 4  # that a figure is shown with; the JSON holds all of them

_FACTS: Final = ("card", "memory", "driver", "cuda", "torch", "transformers", "triton", "date")


def main(words: Sequence[str] | None = None) -> int:
    """Write ``gpu.md`` and ``gpu.json`` of some runs into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="gpu.json of each run, the newest last")
    parser.add_argument("--out", type=Path, default=ROOT / "reports")
    options = parser.parse_args(words)
    runs = [one for path in options.runs for one in _runs(json.loads(path.read_text("utf-8")))]
    text = json.dumps({"runs": runs}, indent=1, ensure_ascii=False) + "\n"
    (options.out / "gpu.json").write_text(text, encoding="utf-8")
    (options.out / "gpu.md").write_text(markdown(runs), encoding="utf-8")
    print(f"wrote {options.out / 'gpu.md'} and gpu.json")
    return 0


def markdown(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return every figure of some runs, the newest run first; nothing that was not measured."""
    lines = [
        "# Speed on a GPU",
        "",
        "Written by `jobs/bench/gpu/report.py` from what `make bench-gpu` measured. Every figure is as "
        + "measured; what is not here was not measured.",
    ]
    for note in dict.fromkeys(note for run in runs for note in run["notes"]):
        lines += ["", f"{note[0].upper()}{note[1:]}."]
    for number in range(len(runs), 0, -1):
        lines += ["", *_run(runs[number - 1], f"Run {number}")]
    return "\n".join(lines) + "\n"


def _runs(document: Mapping[str, Any]) -> list[Any]:
    """Return the runs a document holds: several from a report, one from the bench."""
    return list(document["runs"]) if "runs" in document else [document]


def _run(run: Mapping[str, Any], title: str) -> list[str]:
    machine = run["machine"]
    lines = [f"## {title}: {machine.get('card', machine['device'])}", ""]
    lines.append(", ".join(f"{name} {machine[name]}" for name in _FACTS if name in machine) + ".")
    measured = [one for one in run["measurements"] if not one["error"]]
    for line in dict.fromkeys(one["line"] for one in measured):
        lines += ["", *_table(line, [one for one in measured if one["line"] == line])]
    failed = [one for one in run["measurements"] if one["error"]]
    if failed:
        lines += ["", "### Not measured", ""]
        lines += [f"- {one['line']}, {one['variant']}: {one['error']}" for one in failed]
    return lines


def _table(line: str, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(name for one in measured for name in one["values"]))
    if len(measured) == 1 and len(columns) > 8:  # a profile: one figure a row
        values = measured[0]["values"].items()
        rows = [f"| `{name}` | {_number(value)} |" for name, value in values]
        return [f"### {line}", "", f"| {measured[0]['note']} | ms |", "|---|---:|", *rows]
    rows = [
        "| "
        + " | ".join(
            [
                one["variant"],
                *(_number(one["values"].get(c), share="share" in c) for c in columns),
                one["note"],
            ]
        )
        + " |"
        for one in measured
    ]
    head = " | ".join(["", *columns, ""])
    return [f"### {line}", "", f"|{head}|", f"|---|{'---:|' * len(columns)}---|", *rows]


def _number(value: float | None, *, share: bool = False) -> str:
    """Return a figure with four digits that count; a share in percent."""
    if value is None:
        return ""
    if share:
        return f"{value:.1%}"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e9):
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{DIGITS}g}"


if __name__ == "__main__":
    sys.exit(main())
