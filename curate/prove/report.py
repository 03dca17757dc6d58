"""The page of a proof: Markdown for people, and the same document as JSON beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from curate.errors import ConfigError
from curate.prove.results import EXACT_MATCH, NLL

METRICS: Final[Mapping[str, str]] = {
    NLL: "NLL in nats per response token, lower is better",
    EXACT_MATCH: "exact match, higher is better",
}
NOT_MEASURED: Final = "not measured; it needs generation: --extractor NAME"


def check_report_path(path: Path) -> None:
    """Raise `ConfigError` for a report that could not be written where the user wants it."""
    if path.suffix != ".md":
        raise ConfigError(f"a report is Markdown, got {str(path)!r}; give -o NAME.md")
    if not path.parent.is_dir():
        raise ConfigError(
            f"folder {str(path.parent)!r} of the report does not exist; create it first"
        )


def write_report(document: Mapping[str, Any], path: Path) -> tuple[Path, Path]:
    """Write the page, and the document beside it as JSON; return both paths."""
    from curate.store.parts import atomic_path

    beside = path.with_suffix(".json")
    for where, text in (
        (path, markdown(document)),
        (beside, json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"),
    ):
        with atomic_path(where) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path, beside


def markdown(d: Mapping[str, Any]) -> str:
    """Return the page of a proof."""
    parts = [_heading(d), *_results(d), _notes(d), _costs(d), _selections(d), *_overlaps(d)]
    parts += [*_curve(d), *_slices(d), _how(d)]
    return "\n\n".join(part for part in parts if part) + "\n"


def result_rows(one: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return a table of one result as text: method, mean, interval, difference, verdict."""
    rows = []
    for label, row in one["methods"].items():
        if row["mean"] is None:
            rows.append((label, "-", "-", "-", row["verdict"]))
            continue
        delta = row["delta_vs_random"]
        rows.append(
            (
                label,
                f"{row['mean']:.4f} ± {row['spread']:.4f}",
                f"{row['ci_low']:.4f} to {row['ci_high']:.4f}",
                "-" if delta is None else _difference(delta),
                row["verdict"],
            )
        )
    return rows


def _difference(delta: Mapping[str, Any]) -> str:
    return f"{delta['mean']:+.4f} ({delta['ci_low']:+.4f} to {delta['ci_high']:+.4f})"


def _heading(d: Mapping[str, Any]) -> str:
    plan = d["plan"]
    tokens = ", ".join(f"{n:,} at {budget}" for budget, n in plan["max_tokens"].items())
    lines = ["# Proof", "", *(f"- {text}" for text in _verdicts(d)), ""]
    about = f"Model `{d['model']}`, pool of {d['n_pool']:,} examples, {d['seeds']} seeds, "
    lines += [f"{about}tokens trained per run: {tokens}.", ""]
    for target in d["targets"]:
        overlap = target["overlap"]
        found = (
            "none of it is in the pool"
            if not overlap["any"]
            else (
                f"{overlap['any']} overlap with the pool ({overlap['same_example']} examples, "
                f"{overlap['same_prompt']} prompts, {overlap['same_13_words']} by 13 words in a "
                f"row), {target['overlapping']}"
            )
        )
        lines.append(f"- Target `{target['name']}`: {target['n_examples']:,} examples; {found}.")
    return "\n".join(lines)


def _verdicts(d: Mapping[str, Any]) -> Iterator[str]:
    for one in d["results"]:
        said = "; ".join(
            f"{label}: {row['verdict']}"
            for label, row in one["methods"].items()
            if row["delta_vs_random"] is not None or row["mean"] is None
        )
        metric = "NLL" if one["metric"] == NLL else "exact match"
        yield f"{metric} on {one['target']} at {one['budget']}, against random: {said}."


def _results(d: Mapping[str, Any]) -> Iterator[str]:
    for one in d["results"]:
        title = f"## {one['target']} at {one['budget']}: {METRICS[one['metric']]}"
        columns = ("method", "mean ± sd over seeds", "95% interval", "minus random", "verdict")
        yield f"{title}\n\n{_table(columns, result_rows(one))}"
    if all(one["metric"] == NLL for one in d["results"]):
        yield f"Exact match was {NOT_MEASURED}."


def _notes(d: Mapping[str, Any]) -> str:
    return "## How to read it\n\n" + "\n".join(f"- {text}" for text in d["statements"])


def _costs(d: Mapping[str, Any]) -> str:
    columns = (
        "budget", "method", "scoring s", "scoring tokens", "training s", "training tokens",
        "evaluation tokens", "FLOPs (estimate)", "energy",
    )  # fmt: skip
    rows = []
    for budget, methods in d["costs"].items():
        for label, cost in methods.items():
            rows.append(
                (
                    budget, label, f"{cost['scoring_s']:,.1f}", f"{cost['scoring_tokens']:,}",
                    f"{cost['training_s']:,.1f}", f"{cost['training_tokens']:,}",
                    f"{cost['evaluation_tokens']:,}", _flops(cost), _energy(cost),
                )
            )  # fmt: skip
    text = (
        "## Cost\n\nScores count once and in full, whenever they were computed; so does what a "
        "method trains in order to select. Training is summed over seeds, including evaluation.\n\n"
    )
    return text + _table(columns, rows)


def _flops(cost: Mapping[str, Any]) -> str:
    if cost["scoring_flops"] is None:
        return f"{cost['training_flops']:.2e} and scoring"
    return f"{cost['scoring_flops'] + cost['training_flops']:.2e}"


def _energy(cost: Mapping[str, Any]) -> str:
    joules = cost["training_energy_j"]
    return "not reported" if joules is None else f"{joules / 3.6e6:.3f} kWh"


def _selections(d: Mapping[str, Any]) -> str:
    rows = [
        (
            budget, label, f"{one['n_selected']:,.0f}",
            "-" if one["n_tokens"] is None else f"{one['n_tokens']:,.0f}",
            "-" if one["length_ratio"] is None else f"{one['length_ratio']:.2f}",
        )
        for budget, methods in d["selections"].items()
        for label, one in methods.items()
    ]  # fmt: skip
    columns = ("budget", "method", "examples", "tokens", "mean length / pool's")
    return "## Selections\n\nMeans over seeds.\n\n" + _table(columns, rows)


def _overlaps(d: Mapping[str, Any]) -> Iterator[str]:
    for budget, one in d["overlap"].items():
        rows = [
            (label, *(f"{value:.2f}" for value in values))
            for label, values in zip(one["methods"], one["jaccard"], strict=True)
        ]
        title = f"## Overlap at {budget}\n\nShared examples over all examples of both (Jaccard), mean over seeds."
        yield f"{title}\n\n{_table(('', *one['methods']), rows)}"


def _curve(d: Mapping[str, Any]) -> Iterator[str]:
    if len(d["budgets"]) < 2:
        return
    for target, metric in dict.fromkeys((one["target"], one["metric"]) for one in d["results"]):
        by_budget = {
            one["budget"]: one["methods"]
            for one in d["results"]
            if (one["target"], one["metric"]) == (target, metric)
        }
        labels = next(iter(by_budget.values()))
        rows = [
            (label, *(_number(methods[label]["mean"]) for methods in by_budget.values()))
            for label in labels
        ]
        yield (f"## Budget curve: {target}, {METRICS[metric]}\n\n{_table(('', *by_budget), rows)}")


def _slices(d: Mapping[str, Any]) -> Iterator[str]:
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in d["slices"]:
        groups.setdefault((one["target"], one["budget"], one["metric"]), []).append(one)
    for (target, budget, metric), found in groups.items():
        labels = [label for label in found[0]["methods"] if label != "random"]
        rows = [
            (
                one["slice"], f"{one['n_examples']:,}",
                _number(one["methods"]["random"]["mean"]),
                *(_slice_cell(one["methods"][label]) for label in labels),
            )
            for one in found
        ]  # fmt: skip
        title = f"## Slices of {target} at {budget}: {METRICS[metric]}"
        text = "Random's mean, then each method minus random with its uncorrected 95% interval."
        columns = ("slice", "examples", "random", *labels)
        yield f"{title}\n\n{text}\n\n{_table(columns, rows)}"


def _slice_cell(one: Mapping[str, Any]) -> str:
    return f"{one['delta']:+.3f} ({one['ci_low']:+.3f} to {one['ci_high']:+.3f})"


def _how(d: Mapping[str, Any]) -> str:
    plan = d["plan"]
    lines = ["## Run", ""]
    if d.get("command"):
        lines += ["```", d["command"], "```", ""]
    training = sum(cost["training_s"] for one in d["costs"].values() for cost in one.values())
    lines.append(
        f"{plan['n_trials']} trials, of which this run trained {d['n_trained']} in "
        f"{d['wall_s']:,.0f} s; all trials together took {training:,.0f} s. Versions: "
        + ", ".join(f"{name} {version}" for name, version in d["versions"].items())
        + "."
    )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
