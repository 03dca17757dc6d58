"""Sections about a proof: verdicts, means and paired differences as charts, curve, slices, costs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from curate.contracts.display import counted
from curate.errors import DataError
from curate.prove.config import RANDOM
from curate.prove.contamination import SharedExample
from curate.prove.result_table import (
    METRICS,
    NOT_MEASURED,
    VERDICTS,
    result_rows,
    verdict_rows,
)
from curate.prove.results import NLL
from curate.prove.statistics import BETTER, LEVEL, WORSE
from curate.views.charts import svg
from curate.views.charts.numbers import short
from curate.views.report.contaminated import shared_table
from curate.views.report.page import (
    Block,
    Cell,
    Chart,
    Charts,
    Code,
    Folded,
    Notices,
    Paragraph,
    Section,
    Table,
    Tiles,
    Verdict,
    Warned,
)

NEEDED: Final = (
    "model", "n_pool", "budgets", "seeds", "targets", "plan", "results", "slices", "selections",
    "overlap", "costs", "statements",
)  # fmt: skip
# Green is better, vermillion worse, the text's colour neither; the verdict stands beside in words as well.
_COLOURS: Final[Mapping[str, int]] = {BETTER: 2, WORSE: 3}
_NEITHER: Final = 6
_UNITS: Final[Mapping[str, str]] = {NLL: "NLL, nats per response token"}


def read_proof(path: Path) -> dict[str, Any]:
    """Read the JSON a proof wrote; raise `DataError` if it is missing or something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise DataError(
            f"cannot read proof {str(path)!r}: {error.strerror}; give the NAME.json that "
            "curate prove -o NAME.md writes"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"proof {str(path)!r} is not valid JSON: {error}; give the NAME.json that "
            "curate prove -o NAME.md writes"
        ) from error
    missing = [n for n in NEEDED if n not in document] if isinstance(document, dict) else NEEDED
    if missing:
        raise DataError(
            f"{str(path)!r} is not a proof: it lacks {missing[0]!r}; give the NAME.json that "
            "curate prove -o NAME.md writes"
        )
    try:
        for _ in proof_sections(document):
            pass
        f"{document['plan']['n_trials']:,} of {document['model']!s}"
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"proof {str(path)!r} is damaged or was edited: {type(error).__name__}: {error}; give the NAME.json as "
            "curate prove -o NAME.md wrote it"
        ) from error
    return dict(document)


def proof_sections(d: Mapping[str, Any]) -> Iterator[Section]:
    """Yield the sections of a proof's page, verdicts first."""
    yield Section("Verdicts", list(_verdicts(d)))
    yield from _results(d)
    curve = list(curve_charts(d))
    if curve:
        yield Section("Budget curve", curve)
    slices = list(_slices(d))
    if slices:
        yield Section("Slices", slices)
    yield Section("Cost", list(_costs(d)))
    yield Section("What was selected", list(_selected(d)))
    yield Section("Run", list(_run(d)))


def _verdicts(d: Mapping[str, Any]) -> Iterator[Block]:
    yield Tiles(
        [
            ("model", Path(str(d["model"])).name),
            ("pool", f"{d['n_pool']:,} examples"),
            ("budgets", ", ".join(map(str, d["budgets"]))),
            ("seeds", str(d["seeds"])),
            ("targets", ", ".join(str(target["name"]) for target in d["targets"])),
        ]
    )
    yield _verdict_table(verdict_rows(d))
    yield Notices([_contamination(target) for target in d["targets"]])
    for target in d["targets"]:
        shared = [SharedExample(**one) for one in target.get("shared", ())]
        if shared:
            yield Folded(
                f"Some of what the pool shares with {target['name']}", [shared_table(shared)]
            )
    statements = [str(text) for text in d["statements"]]
    if all(result["metric"] == NLL for result in d["results"]):
        statements.append(f"Exact match was {NOT_MEASURED}.")
    yield Notices([Warned("statement", text, "note") for text in statements])


def _verdict_table(found: Sequence[Sequence[str]]) -> Table:
    """Return the verdicts, without a target, budget or metric that is the same in every row."""
    shown = [k for k in range(len(VERDICTS)) if k > 2 or len({row[k] for row in found}) > 1]
    rows: list[tuple[Cell, ...]] = [
        tuple(Verdict(row[k]) if VERDICTS[k] == "verdict" else row[k] for k in shown)
        for row in found
    ]
    return Table([VERDICTS[k] for k in shown], rows, n_left=len(shown) - 1)


def _contamination(target: Mapping[str, Any]) -> Warned:
    overlap = target["overlap"]
    if not overlap["any"]:
        text = (
            f"Target {target['name']!r}: {overlap['n_examples']:,} examples; none is in the pool."
        )
        return Warned("contamination", text, "note")
    return Warned(
        "contamination",
        f"{overlap['any']:,} of {overlap['n_examples']:,} examples of target {target['name']!r} "
        f"overlap with the pool, {target['overlapping']} ({counted(overlap['same_example'], 'example')}, "
        f"{counted(overlap['same_prompt'], 'prompt')}, {overlap['same_13_words']:,} by 13 words in a row).",
    )


def _results(d: Mapping[str, Any]) -> Iterator[Section]:
    """Yield a section for each target and metric; all budgets but the first are folded."""
    kinds = dict.fromkeys((result["target"], result["metric"]) for result in d["results"])
    for target, metric in kinds:
        same = [r for r in d["results"] if (r["target"], r["metric"]) == (target, metric)]
        parts = [(str(result["budget"]), list(_result(result))) for result in same]
        yield Section(f"{target} at {parts[0][0]}: {METRICS[metric]}", _first_open(parts))


def _first_open(parts: Sequence[tuple[str, Sequence[Block]]]) -> list[Block]:
    """Return what is said of each budget: of the first as it is, of the others folded."""
    if not parts:
        return []
    (_, first), *others = parts
    return [*first, *(Folded(f"The same at {budget}", blocks) for budget, blocks in others)]


def _result(result: Mapping[str, Any]) -> Iterator[Block]:
    methods = result["methods"]
    charts = [means_chart(result)]
    if any(row["delta_vs_random"] is not None for row in methods.values()):
        charts.append(differences_chart(result))
    yield Charts(charts)
    rows = [
        (cells[0], Verdict(cells[4]), *cells[1:4], *_test(methods[cells[0]]["delta_vs_random"]))
        for cells in result_rows(result)
    ]
    columns = (
        "method", "verdict", "mean ± sd over seeds", "95% interval", "minus random",
        "interval over", "its level", "p, Holm",
    )  # fmt: skip
    yield Folded("Numbers", [Table(columns, rows, n_left=2)], open_as_text=True)


def means_chart(result: Mapping[str, Any]) -> Chart:
    """Draw the mean of each method, with its interval, in one of a proof's results."""
    methods = result["methods"]
    title = "Mean of each method, with its 95% interval"
    means = [
        _point(label, row, _NEITHER if label == RANDOM else 0) for label, row in methods.items()
    ]
    baseline = methods.get(RANDOM, {}).get("mean")
    label = f"{_unit(result)}; {_better(result)} is better"
    picture = svg.intervals(means, label, title, baseline)
    return Chart(title, picture, "", "The dashed line is random's mean.")


def differences_chart(result: Mapping[str, Any]) -> Chart:
    """Draw the paired difference of each method from random in one of a proof's results."""
    differences = [
        svg.Estimate(
            label, delta["mean"], delta["ci_low"], delta["ci_high"],
            _COLOURS.get(row["verdict"], _NEITHER), str(row["verdict"]),
        )
        for label, row in result["methods"].items()
        if (delta := row["delta_vs_random"]) is not None
    ]  # fmt: skip
    title = "Paired difference from random, with its corrected interval"
    picture = svg.intervals(differences, f"minus random, {_unit(result)}", title, 0.0)
    note = f"{_better(result).capitalize()} is better; an interval that contains 0 shows no difference."
    return Chart(title, picture, "", note)


def _unit(result: Mapping[str, Any]) -> str:
    return _UNITS.get(result["metric"], "exact match, share of examples")


def _better(result: Mapping[str, Any]) -> str:
    return "lower" if result["lower_is_better"] else "higher"


def _test(delta: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if delta is None:
        return "-", "-", "-"
    p, level = delta["p_holm"], delta.get("level", LEVEL)
    return str(delta["over"]), f"{100 * level:.4g}%", "-" if p is None else f"{p:.4f}"


def curve_charts(d: Mapping[str, Any]) -> Iterator[Chart]:
    """Draw each metric of each target over the budgets; nothing if there is only one budget."""
    if len(d["budgets"]) < 2:
        return
    for target, metric in dict.fromkeys(
        (result["target"], result["metric"]) for result in d["results"]
    ):
        points = {
            str(result["budget"]): result["methods"]
            for result in d["results"]
            if (result["target"], result["metric"]) == (target, metric)
        }
        labels = list(dict.fromkeys(label for methods in points.values() for label in methods))
        series = [
            [_point(label, methods.get(label)) for methods in points.values()] for label in labels
        ]
        unit = _UNITS.get(metric, "exact match, share of examples")
        rows = [
            (estimates[0].label, *(short(point.value) for point in estimates))
            for estimates in series
        ]
        title = f"{target}: {METRICS[metric]}"
        picture = svg.lines(list(points), series, "budget", unit, title)
        yield Chart(
            title, picture, Table(("method", *points), rows),
            "Bars are 95% intervals; methods are drawn side by side so that they can be told apart.",
        )  # fmt: skip


def _point(label: str, row: Mapping[str, Any] | None, colour: int = 0) -> svg.Estimate:
    if row is None:
        return svg.Estimate(label, None)
    return svg.Estimate(label, row["mean"], row["ci_low"], row["ci_high"], colour)


def _slices(d: Mapping[str, Any]) -> Iterator[Block]:
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for part in d["slices"]:
        groups.setdefault((part["target"], part["budget"], part["metric"]), []).append(part)
    for (target, budget, metric), slices in groups.items():
        labels = [label for label in slices[0]["methods"] if label != RANDOM]
        names = [f"{part['slice']} ({part['n_examples']:,})" for part in slices]
        values = [
            [part["methods"].get(label, {}).get("delta") for label in labels] for part in slices
        ]
        rows = [
            (
                name,
                _number(part["methods"][RANDOM]["mean"]),
                *(_slice_cell(part["methods"].get(label)) for label in labels),
            )
            for name, part in zip(names, slices, strict=True)
        ]
        title = f"{target} at {budget}: method minus random, {_UNITS.get(metric, 'exact match')}"
        picture = svg.heat_map(names, labels, values, title, digits=3, signed=True)
        better = "Blue, below 0, is better" if metric == NLL else "Vermillion, above 0, is better"
        yield Chart(title, picture, "", f"{better}.")
        title = f"{target} at {budget}: method minus random, 95% intervals, not corrected"
        columns = ("slice (examples)", f"mean of {RANDOM}", *labels)
        yield Folded(title, [Table(columns, rows)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _slice_cell(difference: Mapping[str, Any] | None) -> str:
    if difference is None or difference["delta"] is None:
        return "-"
    return (
        f"{difference['delta']:+.3f} ({difference['ci_low']:+.3f} to {difference['ci_high']:+.3f})"
    )


def _costs(d: Mapping[str, Any]) -> Iterator[Block]:
    text = (
        "Scores count once and in full, whenever they were computed; so does what a method trains "
        "in order to select. Training is summed over seeds, including evaluation."
    )
    yield Paragraph(text, quiet=True)
    parts: list[tuple[str, list[Block]]] = []
    for budget, methods in d["costs"].items():
        rows = [
            (
                label, f"{cost['scoring_s']:,.1f}", f"{cost['scoring_tokens']:,}",
                f"{cost['training_s']:,.1f}", f"{cost['training_tokens']:,}",
                f"{cost['evaluation_tokens']:,}", _flops(cost), _energy(cost),
            )
            for label, cost in methods.items()
        ]  # fmt: skip
        columns = (
            "method", "scoring s", "scoring tokens", "training s", "training tokens",
            "evaluation tokens", "FLOPs (estimate)", "energy",
        )  # fmt: skip
        numbers = Folded("Numbers", [Table(columns, rows)], open_as_text=True)
        parts.append((budget, [cost_chart(budget, methods), numbers]))
    yield from _first_open(parts)


def cost_chart(budget: str, methods: Mapping[str, Any]) -> Chart:
    """Draw the seconds of scoring and of training of each method at one budget."""
    series = [
        svg.Series("scoring", [float(cost["scoring_s"]) for cost in methods.values()]),
        svg.Series("training", [float(cost["training_s"]) for cost in methods.values()]),
    ]
    title = f"Seconds at {budget}"
    picture = svg.bars(list(methods), series, "seconds, all seeds together", title)
    return Chart(title, picture, "")


def _flops(cost: Mapping[str, Any]) -> str:
    if cost["scoring_flops"] is None:
        return f"{cost['training_flops']:.2e} and scoring"
    return f"{cost['scoring_flops'] + cost['training_flops']:.2e}"


def _energy(cost: Mapping[str, Any]) -> str:
    joules = cost.get("training_energy_j")
    return "not reported" if joules is None else f"{joules / 3.6e6:.3f} kWh"


def _selected(d: Mapping[str, Any]) -> Iterator[Block]:
    rows = [
        (
            str(budget), label, short(facts["n_selected"]), short(facts["n_tokens"]),
            "-" if facts["length_ratio"] is None else f"{facts['length_ratio']:.2f}",
        )
        for budget, methods in d["selections"].items()
        for label, facts in methods.items()
    ]  # fmt: skip
    columns = ("budget", "method", "examples", "tokens", "mean length over the pool's")
    yield Table(columns, rows, n_left=2, title="Means over seeds")
    overlaps = [(str(b), [overlap_chart(str(b), facts)]) for b, facts in d["overlap"].items()]
    yield from _first_open(overlaps)


def overlap_chart(budget: str, overlap: Mapping[str, Any]) -> Chart:
    """Draw how much of one method's subset is in another's at one budget."""
    names = [str(name) for name in overlap["methods"]]
    cells = [
        (name, *(f"{value:.2f}" for value in values))
        for name, values in zip(names, overlap["jaccard"], strict=True)
    ]
    title = f"Overlap at {budget}: shared over all examples of both (Jaccard), mean over seeds"
    picture = svg.heat_map(names, names, overlap["jaccard"], title)
    return Chart(title, picture, Table(("", *names), cells))


def _run(d: Mapping[str, Any]) -> Iterator[Block]:
    plan = d["plan"]
    tokens = ", ".join(f"{n:,} at {budget}" for budget, n in plan.get("max_tokens", {}).items())
    text = f"{plan.get('n_trials', 0):,} trials; tokens trained per run: {tokens or '-'}."
    if "n_trained" in d and "wall_s" in d:
        text += f" This run trained {d['n_trained']:,} of them in {d['wall_s']:,.0f} s."
    seconds = sum(cost["training_s"] for costs in d["costs"].values() for cost in costs.values())
    text += f" All trials together took {seconds:,.0f} s."
    yield Paragraph(text)
    if d.get("command"):
        yield Code("Command", str(d["command"]))
    if d.get("versions"):
        versions = [(name, str(version)) for name, version in d["versions"].items()]
        yield Folded("Versions", [Table(("package", "version"), versions, n_left=2)])
    rows = [
        (
            str(t["trial_id"]),
            str(t["method"]),
            str(t["budget"]),
            str(t["seed"]),
            short(t["max_tokens"]),
        )
        for t in plan.get("trials", ())
    ]
    yield Code("Trials", "\n".join("  ".join(row) for row in rows) or "none")
