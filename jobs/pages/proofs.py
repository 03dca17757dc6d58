"""The pages of the proofs in ``reports/``, and what they say of each method."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from jobs.pages.text import ROOT


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of a proof: a method against random on one target at one budget.

    Parameters
    ----------
    report
        Name of the file in ``reports/``, without its ending.
    difference
        Mean difference from random and the ends of its interval, in the metric's unit.
    scoring_s
        Seconds of scoring, and of what the method trains to select.
    """

    report: str
    model: str
    n_pool: int
    target: str
    budget: str
    metric: str
    difference: tuple[float, float, float]
    verdict: str
    scoring_s: float


def proof_pages() -> Iterator[tuple[Path, str]]:
    """Yield the page of every proof in ``reports/``, as its JSON says it."""
    from curate.views.report.proofs.files import proof_markdown
    from curate.views.report.proofs.sections import read_proof

    for path in sorted((ROOT / "reports").glob("proof-*.json")):
        yield path.with_suffix(".md"), proof_markdown(read_proof(path))


def comparisons() -> Mapping[str, Sequence[Comparison]]:
    """Return every comparison with random of the proofs in ``reports/``, by method."""
    found: dict[str, list[Comparison]] = {}
    for path in sorted((ROOT / "reports").glob("proof-*.json")):
        proof: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for result in proof["results"]:
            for name, row in result["methods"].items():
                if (delta := row["delta_vs_random"]) is None:
                    continue
                compared = Comparison(
                    report=path.stem,
                    model=Path(proof["model"]).name,
                    n_pool=proof["n_pool"],
                    target=result["target"],
                    budget=result["budget"],
                    metric=result["metric"],
                    difference=(delta["mean"], delta["ci_low"], delta["ci_high"]),
                    verdict=row["verdict"],
                    scoring_s=float(proof["costs"][result["budget"]][name]["scoring_s"]),
                )
                found.setdefault(name, []).append(compared)
    return found
