"""How a notebook shows a pool, a scoring run, a selection and a proof below a cell."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curate.contracts.display import show_as
from curate.prove.conclusions import conclusions
from curate.prove.result_table import VERDICTS, verdict_rows
from curate.scoring.outcome import ScoreReport
from curate.views.charts.numbers import Values, bin_counts, bin_edges, percent, short
from curate.views.notebook.columns import complete_sets
from curate.views.notebook.fragment import (
    Cell,
    fragment,
    heading,
    paragraph,
    side_by_side,
    spark,
    table,
    tiles,
)
from curate.views.report.html import verdict_html

if TYPE_CHECKING:
    from curate.api.pool import Pool
    from curate.api.selection import StoredSelection
    from curate.scoring.outcome import ScoredSet
    from curate.store import ScoreSetStatus, Store
    from curate.views.notebook.proof_plots import ProofPlots

N_ROWS: Final = 5
MAX_SETS: Final = 12
MAX_SELECTIONS: Final = 8
_NUMBERS: Final = ("float", "int")
_PLOTTED: Final = 2  # charts of a proof's card


def pool_card(pool: "Pool") -> str:
    """Return counts, scores with their distributions, selections and the first rows of a pool."""
    status = pool.status()
    asked_for = [record for record in status["selections"] if not record["internal"]]
    parts = [
        heading(f"Pool {pool.store.path.name}", str(pool.store.path)),
        tiles(
            [
                ("examples", f"{status['n_examples']:,}"),
                ("rows of the input", f"{status['n_rows']:,}"),
                ("prompts", f"{status['n_groups']:,}"),
                ("sources", f"{status['n_sources']:,}"),
                ("score sets", f"{len(status['score_sets']):,}"),
                ("selections", f"{len(asked_for):,}"),
            ]
        ),
    ]
    sets = list(
        {score_set.set_id: score_set for score_set in complete_sets(pool.store).values()}.values()
    )
    if sets:
        parts += [heading("Scores"), _score_table(pool.store, sets[-MAX_SETS:])]
    if asked_for:
        newest = asked_for[-MAX_SELECTIONS:][::-1]
        rows = [
            (
                record["selection_id"][:8], str(record["method"]), str(record["budget"] or "-"),
                f"{record['n_selected']:,}",
            )
            for record in newest
        ]  # fmt: skip
        parts += [
            heading("Selections"),
            table(("id", "method", "budget", "picked"), rows, ("picked",)),
        ]
    shown = pool.store.first_examples(N_ROWS).to_pylist()
    if shown:
        parts += [heading("First examples"), _example_table(shown)]
    else:
        parts.append(paragraph("The pool is empty. Ingest some examples: pool.ingest(FILE)"))
    return fragment(*parts)


@show_as(ScoreReport)
def score_card(report: ScoreReport) -> str:
    """Return what a scoring run did, and the distributions of its scores."""
    rows = [
        (
            scored.alias, scored.status.scorer, f"{scored.n_scored:,}", f"{scored.n_reused:,}",
            f"{scored.n_failed:,}", f"{scored.status.tokens:,}",
            f"{scored.status.wall_s:,.1f}",
        )
        for scored in report.sets
    ]  # fmt: skip
    columns = ("score set", "scorer", "scored now", "found there", "failed", "tokens", "seconds")
    parts = [heading(f"Scores, {report.wall_s:,.1f} s"), table(columns, rows, columns[2:])]
    parts += [paragraph(text) for text in _failures(report.sets)]
    if report.store is not None:
        parts.append(_score_table(report.store, [scored.status for scored in report.sets]))
    return fragment(*parts)


def selection_card(selection: "StoredSelection") -> str:
    """Return counts, shifts and the first rows of a selection."""
    d = selection.document
    if "selection_id" not in d:
        return fragment(heading("Plan of a selection", selection.plan_text()))
    ratio = d.get("length_ratio")
    facts = [
        ("picked", f"{len(selection):,}"),
        ("of the pool", percent(d["n_selected"], d["n_pool"])),
        ("could be picked", short(d.get("n_eligible"))),
        ("tokens", short(d.get("n_tokens"))),
        ("times the mean length of those chosen from", "-" if ratio is None else f"{ratio:.2f}"),
    ]
    name = " ".join(str(part) for part in (d["method"], d.get("budget")) if part)
    parts = [heading(f"Selection {name}", f"id {selection.id}"), tiles(facts)]
    parts += [paragraph(f"Warning: {text}") for text in d.get("warnings") or ()]
    plots = selection.pool.plot
    drawn = len(selection) and len(selection.pool)
    charts = [plots.sources(selection), plots.lengths(selection)] if drawn else []
    if charts:
        parts.append(side_by_side([chart.figure for chart in charts]))
    shown = selection.to_arrow(N_ROWS).to_pylist()
    if shown:
        parts += [heading("First picks"), _pick_table(shown)]
    return fragment(*parts)


def proof_card(document: Mapping[str, Any], plots: "ProofPlots") -> str:
    """Return the verdicts of a proof and its paired differences, or the plan of one."""
    d = document
    facts = [
        ("model", Path(str(d["model"])).name),
        ("pool", f"{d['n_pool']:,} examples"),
        ("budgets", ", ".join(map(str, d["budgets"]))),
        ("seeds", str(d["seeds"])),
        ("trials", f"{d['plan']['n_trials']:,}"),
    ]
    if "results" not in d:
        return fragment(heading("Plan of a proof"), tiles(facts))
    rows: list[tuple[Cell, ...]] = [
        (*row[:4], (verdict_html(row[4]),), row[5]) for row in verdict_rows(d)
    ]
    said = [paragraph(sentence) for sentence in conclusions(d)]
    parts = [heading("Proof"), *said, tiles(facts), table(VERDICTS, rows, VERDICTS[5:])]
    charts = [chart.figure for chart in plots.differences()][:_PLOTTED]
    return fragment(*parts, side_by_side(charts))


def _failures(sets: "Sequence[ScoredSet]") -> list[str]:
    failed = [
        f"{scored.alias}: {n:,} failed, {reason}"
        for scored in sets
        for reason, n in scored.failures.items()
    ]
    return failed + [text for scored in sets for text in scored.warnings()]


def _score_table(store: "Store", sets: "Sequence[ScoreSetStatus]") -> str:
    """Return one line for each column of numbers: quantiles and a small histogram."""
    rows: list[tuple[Cell, ...]] = []
    for status in sets:
        for name, values in _values(store, status).items():
            known = values[np.isfinite(values)]
            label = f"{status.alias}.{name}"
            if not len(known):
                rows.append((label, f"{len(known):,}", "-", "-", "-", ""))
                continue
            low, middle, high = np.quantile(known, [0.01, 0.5, 0.99]).tolist()
            drawn = spark(bin_counts(known, bin_edges(known)), label)
            numbers = (f"{len(known):,}", short(low), short(middle), short(high))
            rows.append((label, *numbers, (drawn,)))
    columns = ("score", "values", "1%", "median", "99%", "distribution")
    return table(columns, rows, columns[1:5]) if rows else ""


def _values(store: "Store", status: "ScoreSetStatus") -> dict[str, Values]:
    from curate.store.connection import identifier, literal

    names = [name for name, dtype in status.columns.items() if dtype in _NUMBERS]
    if not names:
        return {}
    listed = ", ".join(map(identifier, names))
    scores = store.read(f"select {listed} from score_set({literal(status.set_id)})")
    return {name: scores[name].to_numpy().astype(np.float64) for name in names}


def _example_table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (r["id"][:8], r["source"] or "-", r["prompt"] or "", r["response"] or "") for r in rows
    ]
    return table(("id", "source", "prompt", "response"), cells)


def _pick_table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (
            f"{r['rank']:,}", r["id"][:8], short(r["gain"]), r["reason"] or "-",
            r["source"] or "-", r["prompt"] or "", r["response"] or "",
        )
        for r in rows
    ]  # fmt: skip
    columns = ("place", "id", "gain", "reason", "source", "prompt", "response")
    return table(columns, cells, ("place", "gain"))
