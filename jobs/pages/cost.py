"""What was measured of speed and memory, as tables of the documentation site."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from jobs.pages.text import ROOT, table

REPORT: Final = ROOT / "reports" / "gpu.json"
ROWS: Final = (50_000, 1_000_000)
_LINE: Final = re.compile(r"pass (?P<size>\S+)")
_OURS: Final = "ours: "
_FIRST: Final = "likelihood + entropy"  # what the variants that begin with + add to
_FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "one-pass-4k": (
        "likelihood, entropy and embedding in one pass, vocabulary 4,096",
        "{:.1f} times the tokens/s of a bare forward pass with full logits",
    ),
    "one-pass-32k": (
        "the same, vocabulary 32,768",
        "{:.1f} times the tokens/s of a bare forward pass with full logits",
    ),
    "donod": ("the pass with DONOD as well", "{:.2f} times its time"),
    "loops": ("three loops of one row at a time instead of the pass", "{:.1f} times its time"),
    "score-padded-4": (
        "log-probability and entropy in one pass",
        "{:.1f} times the tokens/s of padded batches of 4 with full logits",
    ),
    "score-padded-8": ("the same", "{:.1f} times those of padded batches of 8"),
    "two-workers": ("two workers on two cores", "{:.2f} times the rate of one"),
    "ingest": ("reading, hashing and storing rows", "{:,.0f} rows/s"),
    "top-k": ("selecting 10% of 1,000,000 examples by one score, stored with reasons", "{:.1f} s"),
    "group-top-k": ("selecting the best of every group of 1,000,000 examples", "{:.1f} s"),
    "s2l": ("`s2l` on 1,000,000 examples with 12 points, clustering included", "{:.1f} s"),
    "kmq": ("`kmq` on 1,000,000 examples, after the clustering", "{:.1f} s"),
    "train": ("the training loop", "{:.2f} times the tokens/s of a plain loop sorted by length"),
    "train-trainer": (
        "the training loop",
        "{:.2f} times the trained tokens/s of transformers' `Trainer`, padded, rows in random order",
    ),
    "train-trl": ("the training loop", "{:.2f} times those of TRL's `SFTTrainer` with packing"),
    "memory": ("a worker's memory for 100,000 rows, more than for 1,000", "{:.0f} MiB"),
    "explore-start": ("opening the explore page on 1,000,000 examples", "{:.1f} s"),
}


def measured_rates() -> str:
    """Return each measured pass of a model: rows a second, memory, and the time at that rate."""
    runs: list[dict[str, Any]] = json.loads(REPORT.read_text(encoding="utf-8"))["runs"]
    rows = []
    for run in sorted(runs, key=lambda run: str(run["machine"]["date"]), reverse=True):
        for measured in run["measurements"]:
            line, values = _LINE.fullmatch(measured["line"]), measured["values"]
            is_ours = measured["variant"].startswith(_OURS) and "without" not in measured["variant"]
            if line is None or not is_ours or not values:
                continue
            rate = float(values["rows/s"])
            scores = measured["variant"].removeprefix(_OURS)
            rows.append(
                (
                    str(run["machine"]["card"]),
                    line["size"],
                    f"{_FIRST} {scores}" if scores.startswith("+") else scores,
                    f"{rate:,.0f}",
                    f"{float(values['peak GiB']):.1f}",
                    *(_duration(n / rate) for n in ROWS),
                )
            )
    head = (
        "card", "model", "scores in the pass", "rows/s", "peak GiB",
        *(f"{n:,} rows" for n in ROWS),
    )  # fmt: skip
    return table(head, _newest(rows)) + "\n"


def measured_figures() -> str:
    """Return figures of ``reports/bench.json`` in words; `KeyError` for one that was not measured."""
    bench = json.loads((REPORT.parent / "bench.json").read_text(encoding="utf-8"))
    values = {f["name"]: f["value"] for f in bench["figures"] if f["value"] is not None}
    rows = [(what, text.format(values[name])) for name, (what, text) in _FIGURES.items()]
    return table(("what", "measured"), rows) + "\n"


def _newest(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Keep the first row of each card, model and pass, by size of the model."""
    kept: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row in rows:
        kept.setdefault(row[:3], row)
    return sorted(kept.values(), key=lambda row: (row[0], float(row[1].rstrip("B")), row[2]))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
