"""What CLEAR's Auto-Correct does to the demo's pool, held against the answers the pool knows.

``auto_correct.py [--limit N]`` builds the demo's pool and tiny model, runs ``clear-correct``, and writes
``auto-correct.md``: what was kept, replaced and dropped, and how much of it is right before and after.
The method sees no label.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from curate.api.pool import Pool
from curate.api.selection import StoredSelection
from curate.demo.model import ensure_model
from curate.demo.pool import PoolRow, write_pool
from curate.demo.skills import is_correct
from curate.select.procedures.correct.revise import DUPLICATE, correct, judged_rows

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ETAS: Final = (0.8, 0.6, 0.4, 0.0)
N_SHOWN: Final = 4


@final
@dataclass(frozen=True, slots=True)
class Line:
    """What one threshold leaves of the pool.

    Parameters
    ----------
    n_repeats
        Of those dropped: candidates judged better that repeat an example of the result.
    before, after
        Replaced responses that were right, and whose replacement is.
    right
        Right responses of the whole selection.
    """

    eta: float
    n_kept: int
    n_replaced: int
    n_dropped: int
    n_repeats: int
    before: int
    after: int
    right: int

    @property
    def n_selected(self) -> int:
        """Examples of the selection."""
        return self.n_kept + self.n_replaced


def main(words: Sequence[str] | None = None) -> int:
    """Build, correct, measure, write; return 0."""
    options = _parser().parse_args(words)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    command = " ".join(["python", "jobs/compare/auto_correct.py", *(words or sys.argv[1:])])
    with tempfile.TemporaryDirectory(prefix="curate-correct-") as work:
        data = Path(work) / "pool.jsonl"
        rows = write_pool(data, options.seed)
        model = str(ensure_model())
        pool = Pool(Path(work) / "curate.duckdb", create=True)
        pool.ingest(str(data), limit=options.limit)
        began = time.perf_counter()
        selection = pool.select(
            "clear-correct", model=model, seed=options.seed, settings=_settings(options),
            device=options.device,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        truth = by_example(pool, rows)
        kept, judged = ingredients(pool, selection)
        lines = [measure(truth, kept, judged, eta) for eta in sorted({*ETAS, options.eta})][::-1]
        text = report(selection, lines, truth, kept, judged, options, command, seconds)
    path = Path(options.out) / "auto-correct.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {path}")
    return 0


def by_example(pool: Pool, rows: Sequence[PoolRow]) -> dict[str, PoolRow]:
    """Return the truth about each example: that of its first row."""
    ids = pool.sql("select id from examples order by id")["id"].to_list()
    found = pool.store.first_rows(ids)
    positions = found["position"].to_pylist()
    return {one: rows[place] for one, place in zip(found["id"].to_pylist(), positions, strict=True)}


def ingredients(
    pool: Pool, selection: StoredSelection
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return what the filter kept, with its confidences, and all candidates with their verdicts."""
    [kept] = selection.document["selections"]
    table = pool.store.selection_rows(kept)
    gains = dict(zip(table["id"].to_pylist(), table["gain"].to_pylist(), strict=True))
    return gains, judged_rows(pool.store, selection.document["revise"]["verdicts"])[0]


def measure(
    truth: Mapping[str, PoolRow],
    kept: Mapping[str, float],
    judged: Sequence[Mapping[str, Any]],
    eta: float,
) -> Line:
    """Decide with a threshold, and count what is right."""
    made = correct(kept, judged, eta)
    counts = made.counts()
    unchanged = [one.id for one in made.kept if one.revision is None]
    parents = [truth[row["parent_id"]] for row in made.revisions]
    after = sum(is_right(row, parent) for row, parent in zip(made.revisions, parents, strict=True))
    return Line(
        eta=eta,
        n_kept=counts["n_kept"],
        n_replaced=counts["n_replaced"],
        n_dropped=counts["n_dropped"],
        n_repeats=counts["dropped"].get(DUPLICATE, 0),
        before=sum(parent.is_correct for parent in parents),
        after=after,
        right=sum(truth[one].is_correct for one in unchanged) + after,
    )


def knowing(
    truth: Mapping[str, PoolRow], judged: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return verdicts of a judge that knows the answers: the candidate is better if it alone is right."""
    return [
        {**row, "agree": True, "confidence": float(is_better(row, truth[row["parent_id"]]) > 0)}
        for row in judged
    ]


def is_better(row: Mapping[str, Any], parent: PoolRow) -> int:
    """Return 1 where a candidate alone is right, -1 where the response alone is, else 0."""
    return 0 if row["response"] is None else is_right(row, parent) - parent.is_correct


def is_right(row: Mapping[str, Any], parent: PoolRow) -> bool:
    """Whether a candidate gives the answer to its parent's task."""
    return is_correct(parent.skill, row["response"], parent.answer)


def report(
    selection: StoredSelection,
    lines: Sequence[Line],
    truth: Mapping[str, PoolRow],
    kept: Mapping[str, float],
    judged: Sequence[Mapping[str, Any]],
    options: argparse.Namespace,
    command: str,
    seconds: float,
) -> str:
    """Write the page."""
    document = selection.document
    cost, done = document["procedure"], document["corrected"]
    right = sum(row.is_correct for row in truth.values())
    dropped = Counter(done["dropped"])
    page = [
        "# Auto-Correct on the demo's pool",
        "",
        f"`{command}`",
        "",
        (
            f"- {len(truth):,} examples, {share(right, len(truth))} of them right; the demo's model of "
            "about 700,000 parameters is target and judge"
        ),
        (
            f"- consistency: {options.consistency}; {options.epochs} epoch(s) at {options.lr:g} on what the "
            f"filter keeps; seed {options.seed}"
        ),
        (
            f"- eta {options.eta:g}: {done['n_kept']:,} kept, {done['n_replaced']:,} replaced, "
            f"{done['n_dropped']:,} dropped ({_reasons(dropped)})"
        ),
        (
            f"- {seconds:,.0f} s in all, confidence included; one fine-tuning, answers and judging: "
            f"{cost['seconds']:,.0f} s, {cost['tokens']:,} tokens"
        ),
        "",
        "## What each threshold leaves",
        "",
        (
            "Same candidates and verdicts, other `eta`. At 0 both orders must agree, and nothing else. "
            "Repeats were judged better, and would only repeat an example of the result: each task of "
            "this pool has four responses."
        ),
        "",
        (
            "| eta | kept | replaced | dropped | of them repeats | replaced: right before | right after "
            "| selection: right |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    oracle = measure(truth, kept, knowing(truth, judged), 0.8)
    page += [_cells(f"{one.eta:g}", one) for one in lines]
    page += [_cells("a judge that knows the answers", oracle)]
    page += ["", *filtered(truth, kept, judged), "", *verdicts(truth, judged), ""]
    page += [*examples(truth, judged), "", "## Warnings", ""]
    page += [f"- {warning}" for warning in document["warnings"]]
    return "\n".join(page) + "\n"


def filtered(
    truth: Mapping[str, PoolRow], kept: Mapping[str, float], judged: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Say how right both sides of the filter are, and the candidates for the lower one."""
    low = [truth[row["parent_id"]] for row in judged]
    written = [row for row in judged if row["response"] is not None]
    right = sum(is_right(row, truth[row["parent_id"]]) for row in written)
    was = sum(truth[row["parent_id"]].is_correct for row in written)
    return [
        "## The filter and the candidates",
        "",
        f"- above the median: {share(sum(truth[one].is_correct for one in kept), len(kept))} right",
        f"- below: {share(sum(row.is_correct for row in low), len(low))} right",
        (
            f"- candidates that differ from their response: {len(written):,}; {share(right, len(written))} "
            f"right, where the responses were {share(was, len(written))} right"
        ),
    ]


def verdicts(truth: Mapping[str, PoolRow], judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the judge's verdicts look like, and whether they follow the truth."""
    rows = [row for row in judged if row["failure"] is None]
    if not rows:
        return ["## The judge", "", "It had nothing to judge."]
    confidence = np.array([row["confidence"] for row in rows])
    quantiles = ", ".join(f"{q:.3f}" for q in np.quantile(confidence, [0, 0.25, 0.5, 0.75, 1]))
    better = np.array([is_better(row, truth[row["parent_id"]]) for row in rows])
    mass = np.median([row["mass"] for row in rows])
    return [
        "## The judge",
        "",
        f"- {len(rows):,} pairs; its letters carry {mass:.4f} of the probability (median)",
        f"- it prefers the candidate in both orders in {sum(row['agree'] for row in rows):,} of them",
        f"- confidence that the candidate is better: {quantiles} (smallest, quartiles, largest)",
        (
            f"- mean confidence where the candidate is right and the response wrong "
            f"({(better > 0).sum():,} pairs): {_mean(confidence[better > 0])}; where it is the other way "
            f"round ({(better < 0).sum():,}): {_mean(confidence[better < 0])}; where both are alike "
            f"({(better == 0).sum():,}): {_mean(confidence[better == 0])}"
        ),
    ]


def examples(truth: Mapping[str, PoolRow], judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """Show the candidates with the highest confidence."""
    rows = sorted(
        (row for row in judged if row["failure"] is None), key=lambda row: -row["confidence"]
    )
    lines = ["## The most confident verdicts", "", "| confidence | prompt | response | candidate |"]
    lines.append("|---|---|---|---|")
    for row in rows[:N_SHOWN]:
        parent = truth[row["parent_id"]]
        cells = [
            f"{row['confidence']:.3f}", parent.prompt,
            f"{parent.response} ({_word(parent.is_correct)})",
            f"{row['response']} ({_word(is_right(row, parent))})",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(' '.join(c.split()).replace('|', '/') for c in cells)} |")
    return lines


def share(part: int, whole: int) -> str:
    """Return a count with its share.

    Examples
    --------
    >>> share(1, 4), share(0, 0)
    ('1 of 4 (25.0%)', '0 of 0')
    """
    return f"{part:,} of {whole:,} ({part / whole:.1%})" if whole else "0 of 0"


def _cells(name: str, one: Line) -> str:
    cells = [
        name, f"{one.n_kept:,}", f"{one.n_replaced:,}", f"{one.n_dropped:,}", f"{one.n_repeats:,}",
        share(one.before, one.n_replaced), share(one.after, one.n_replaced),
        share(one.right, one.n_selected),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "none"


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.4f}" if len(values) else "-"


def _word(is_right: bool) -> str:
    return "right" if is_right else "wrong"


def _settings(options: argparse.Namespace) -> dict[str, str]:
    names = ("consistency", "epochs", "lr", "batch_tokens", "eta", "mode", "max_new_tokens")
    return {name: str(getattr(options, name)) for name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="auto_correct.py", description=__doc__)
    parser.add_argument("--limit", type=int, help="so many rows of the pool only")
    parser.add_argument("--seed", type=int, default=0, help="of the pool and of the training")
    parser.add_argument("--eta", type=float, default=0.8)
    parser.add_argument("--mode", default="logits", choices=["logits", "sample"])
    parser.add_argument("--consistency", default="likelihood", help="as in clear-correct")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--batch-tokens", type=int, default=1_000)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", default=str(ROOT / "reports"), metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
