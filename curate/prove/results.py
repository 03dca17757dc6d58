"""From finished trials to the document a proof prints: comparisons, costs, overlap, slices."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Bool

from curate.algorithms.overlap import jaccard
from curate.errors import StoreError
from curate.prove.config import RANDOM
from curate.prove.costs import cost_of
from curate.prove.statistics import NOT_APPLICABLE, Comparison, compare, judge
from curate.prove.trials import Measured, TrialResult

if TYPE_CHECKING:
    from curate.prove.targets import Target
    from curate.store import Store

NLL: Final = "nll"
EXACT_MATCH: Final = "exact_match"
LOWER_IS_BETTER: Final[Mapping[str, bool]] = {NLL: True, EXACT_MATCH: False}


@final
@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came out of every trial.

    Parameters
    ----------
    budgets, labels
        In display order.
    results
        By budget and label, one trial a seed, in order of seed.
    refusals
        Why methods could not select, by budget and label.
    """

    budgets: Sequence[str]
    labels: Sequence[str]
    results: Mapping[tuple[str, str], Sequence[TrialResult]]
    refusals: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, budget: str) -> dict[str, Sequence[TrialResult]]:
        """Return the trials of one budget by label."""
        return {
            label: self.results[budget, label]
            for label in self.labels
            if (budget, label) in self.results
        }


def build_document(
    store: "Store", outcomes: Outcomes, targets: Sequence["Target"]
) -> dict[str, Any]:
    """Return the part of a proof's document that follows from its trials.

    ``methods`` is about the first budget and target by NLL; ``results`` has all of them.
    """
    statuses = {status.set_id: status for status in store.score_sets()}
    costs = {
        budget: {
            label: cost_of(store, trials, statuses) for label, trials in outcomes.of(budget).items()
        }
        for budget in outcomes.budgets
    }
    results = [
        result
        for target in targets
        for metric in _metrics(outcomes, target.name)
        for result in _compared(outcomes, target.name, metric)
    ]
    selections = {budget: _selections(store, outcomes.of(budget)) for budget in outcomes.budgets}
    slices = [
        sliced
        for target in targets
        for metric in _metrics(outcomes, target.name)
        for sliced in _sliced(outcomes, target, metric)
    ]
    document = {
        "results": results,
        "slices": slices,
        "selections": selections,
        "overlap": {budget: _overlap(store, outcomes.of(budget)) for budget in outcomes.budgets},
        "costs": costs,
    }
    return {"methods": _methods(outcomes, document, targets[0].name), **document}


def _methods(
    outcomes: Outcomes, document: Mapping[str, Any], target: str
) -> dict[str, dict[str, Any]]:
    budget = outcomes.budgets[0]
    by_metric = {
        result["metric"]: result["methods"]
        for result in document["results"]
        if result["budget"] == budget and result["target"] == target
    }
    by_label: dict[str, dict[str, Any]] = {}
    for label in outcomes.labels:
        row = dict(by_metric[NLL][label])
        if EXACT_MATCH in by_metric:
            row["exact_match"] = by_metric[EXACT_MATCH][label]
        row |= document["selections"][budget].get(label, {})
        by_label[label] = row | document["costs"][budget].get(label, {})
    return by_label


def _metrics(outcomes: Outcomes, target: str) -> list[str]:
    measured = [
        result.evaluations[target] for trials in outcomes.results.values() for result in trials
    ]
    has_answers = all(evaluation.correct is not None for evaluation in measured)
    return [NLL, EXACT_MATCH] if has_answers else [NLL]


def _compared(outcomes: Outcomes, target: str, metric: str) -> Iterator[dict[str, Any]]:
    lower = LOWER_IS_BETTER[metric]
    comparisons: dict[tuple[str, str], Comparison] = {}
    for budget in outcomes.budgets:
        arms, weights = _arrays(outcomes.of(budget), target, metric)
        compared = compare(arms, weights, baseline=RANDOM, lower_is_better=lower)
        comparisons |= {(budget, label): comparison for label, comparison in compared.items()}
    judged = judge(comparisons, lower_is_better=lower)
    for budget in outcomes.budgets:
        yield {
            "budget": budget, "target": target, "metric": metric, "lower_is_better": lower,
            "methods": {
                label: _row(judged.get((budget, label)), outcomes.refusals.get((budget, label)))
                for label in outcomes.labels
            },
        }  # fmt: skip


def _row(comparison: Comparison | None, refusal: str | None) -> dict[str, Any]:
    if comparison is None:
        verdict = f"{NOT_APPLICABLE}: {refusal}"
        return {
            "verdict": verdict, "mean": None, "spread": None, "ci_low": None, "ci_high": None,
            "values": [], "delta_vs_random": None,
        }  # fmt: skip
    difference = None
    if comparison.delta is not None and comparison.delta_interval is not None:
        difference = {
            "mean": comparison.delta, "ci_low": comparison.delta_interval.low,
            "ci_high": comparison.delta_interval.high, "over": comparison.delta_interval.over,
            "level": comparison.delta_interval.level, "p": comparison.p,
            "p_holm": comparison.p_holm, "verdict": comparison.verdict,
        }  # fmt: skip
    return {
        "verdict": comparison.verdict or "the baseline", "mean": comparison.mean,
        "spread": comparison.spread, "ci_low": comparison.interval.low,
        "ci_high": comparison.interval.high, "over": comparison.interval.over,
        "values": list(comparison.values), "delta_vs_random": difference,
    }  # fmt: skip


def _sliced(outcomes: Outcomes, target: "Target", metric: str) -> Iterator[dict[str, Any]]:
    for budget in outcomes.budgets:
        by_label = outcomes.of(budget)
        first = by_label[RANDOM][0].evaluations[target.name]
        for name, mask in target.slices(first.ids, first.n_tokens).items():
            arms, weights = _arrays(by_label, target.name, metric, mask)
            compared = compare(
                arms, weights, baseline=RANDOM, lower_is_better=LOWER_IS_BETTER[metric],
            )  # fmt: skip
            yield {
                "budget": budget, "target": target.name, "metric": metric, "slice": name,
                "n_examples": int(mask.sum()),
                "methods": {
                    label: {"mean": comparison.mean, "delta": comparison.delta,
                            "ci_low": comparison.delta_interval and comparison.delta_interval.low,
                            "ci_high": comparison.delta_interval and comparison.delta_interval.high}
                    for label, comparison in compared.items()
                },
            }  # fmt: skip


def _arrays(
    by_label: Mapping[str, Sequence[TrialResult]],
    target: str,
    metric: str,
    mask: Bool[np.ndarray, " n"] | None = None,
) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Return numerators by label, (seeds, n), and denominators, (n,)."""
    first = by_label[RANDOM][0].evaluations[target]
    keep = np.ones(len(first.ids), dtype=bool) if mask is None else mask
    arms = {}
    for label, results in by_label.items():
        rows = []
        for result in results:
            evaluation = result.evaluations[target]
            if evaluation.ids != first.ids or not np.array_equal(
                evaluation.n_tokens, first.n_tokens
            ):
                raise StoreError(
                    f"trial {result.trial_id} was evaluated on other examples of {target!r} than "
                    "the others; remove it from the folder trials beside the store, then run again"
                )
            rows.append(_numerators(evaluation, metric)[keep])
        arms[label] = np.stack(rows)
    weights = first.n_tokens.astype(np.float64) if metric == NLL else np.ones(len(first.ids))
    return arms, weights[keep]


def _numerators(evaluation: Measured, metric: str) -> np.ndarray[Any, Any]:
    if metric == NLL:
        return evaluation.nll
    assert evaluation.correct is not None
    return evaluation.correct.astype(np.float64)


def _selections(
    store: "Store", by_label: Mapping[str, Sequence[TrialResult]]
) -> dict[str, dict[str, Any]]:
    return {
        label: {
            "n_selected": _mean([r.selection["n_selected"] for r in results]),
            "n_tokens": _mean([r.selection["n_tokens"] for r in results]),
            "length_ratio": _mean([r.selection["length_ratio"] for r in results]),
            "selection_ids": [r.selection["selection_id"] for r in results],
            "n_distinct_selections": len({_picks(store, r) for r in results}),
            "trial_ids": [r.trial_id for r in results],
        }
        for label, results in by_label.items()
    }


def _picks(store: "Store", result: TrialResult) -> frozenset[str]:
    rows = store.selection_rows(str(result.selection["selection_id"]))
    return frozenset(rows.column("id").to_pylist())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _overlap(store: "Store", by_label: Mapping[str, Sequence[TrialResult]]) -> dict[str, Any]:
    """Return the mean Jaccard overlap over seeds, each method with each."""
    rows: dict[str, list[str]] = {}

    def ids(result: TrialResult) -> list[str]:
        selection_id = str(result.selection["selection_id"])
        if selection_id not in rows:
            rows[selection_id] = store.selection_rows(selection_id).column("id").to_pylist()
        return rows[selection_id]

    labels = list(by_label)
    matrix = [
        [
            float(
                np.mean(
                    [jaccard(ids(a), ids(b)) for a, b in zip(by_label[x], by_label[y], strict=True)]
                )
            )
            for y in labels
        ]
        for x in labels
    ]
    return {"methods": labels, "jaccard": matrix}
