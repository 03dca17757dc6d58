"""A result of a proof as rows of text: for the terminal, the page and notebooks."""

from collections.abc import Mapping
from typing import Any, Final

from curate.prove.config import RANDOM
from curate.prove.results import EXACT_MATCH, NLL

METRICS: Final[Mapping[str, str]] = {
    NLL: "NLL in nats per response token, lower is better",
    EXACT_MATCH: "exact match, higher is better",
}
NOT_MEASURED: Final = "not measured; it needs generation: --extractor NAME"
VERDICTS: Final = (
    "target",
    "budget",
    "metric",
    "method",
    "verdict",
    "minus random (corrected interval)",
)


def verdict_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return what a proof says about each method, as text, under the columns `VERDICTS`."""
    rows: list[tuple[str, ...]] = []
    for result in document["results"]:
        metric = "NLL" if result["metric"] == NLL else "exact match"
        for label, row in result["methods"].items():
            if label != RANDOM:
                place = (str(result["target"]), str(result["budget"]), metric, str(label))
                rows.append((*place, str(row["verdict"]), difference_text(row["delta_vs_random"])))
    return rows


def result_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return a table of one result as text: method, mean, interval, difference, verdict."""
    rows = []
    for label, row in result["methods"].items():
        if row["mean"] is None:
            rows.append((label, "-", "-", "-", row["verdict"]))
            continue
        delta = row["delta_vs_random"]
        rows.append(
            (
                label,
                f"{row['mean']:.4f} ± {row['spread']:.4f}",
                f"{row['ci_low']:.4f} to {row['ci_high']:.4f}",
                difference_text(delta),
                row["verdict"],
            )
        )
    return rows


def difference_text(delta: Mapping[str, Any] | None) -> str:
    """Return a difference from random with its interval as text, "-" where there is none.

    A proof of an earlier version has no level: its intervals were not corrected, and it says so.
    """
    if delta is None:
        return "-"
    ends = f"{delta['ci_low']:+.4f} to {delta['ci_high']:+.4f}"
    return f"{delta['mean']:+.4f} ({ends}{'' if 'level' in delta else ', not corrected'})"
