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
            label: cost_of(store, found, statuses) for label, found in outcomes.of(budget).items()
        }
        for budget in outcomes.budgets
    }
    results = [
        one
        for target in targets
        for metric in _metrics(outcomes, target.name)
        for one in _compared(outcomes, target.name, metric)
    ]
    selections = {budget: _selections(store, outcomes.of(budget)) for budget in outcomes.budgets}
    slices = [
        one
        for target in targets
        for metric in _metrics(outcomes, target.name)
        for one in _sliced(outcomes, target, metric)
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
        one["metric"]: one["methods"]
        for one in document["results"]
        if one["budget"] == budget and one["target"] == target
    }
    found: dict[str, dict[str, Any]] = {}
    for label in outcomes.labels:
        row = dict(by_metric[NLL][label])
        if EXACT_MATCH in by_metric:
            row["exact_match"] = by_metric[EXACT_MATCH][label]
        row |= document["selections"][budget].get(label, {})
        found[label] = row | document["costs"][budget].get(label, {})
    return found


def _metrics(outcomes: Outcomes, target: str) -> list[str]:
    measured = [
        result.evaluations[target] for found in outcomes.results.values() for result in found
    ]
    return [NLL, EXACT_MATCH] if all(one.correct is not None for one in measured) else [NLL]


def _compared(outcomes: Outcomes, target: str, metric: str) -> Iterator[dict[str, Any]]:
    lower = LOWER_IS_BETTER[metric]
    found: dict[tuple[str, str], Comparison] = {}
    for budget in outcomes.budgets:
        arms, weights = _arrays(outcomes.of(budget), target, metric)
        compared = compare(arms, weights, baseline=RANDOM, lower_is_better=lower)
        found |= {(budget, label): one for label, one in compared.items()}
    judged = judge(found, lower_is_better=lower)
    for budget in outcomes.budgets:
        yield {
            "budget": budget, "target": target, "metric": metric, "lower_is_better": lower,
            "methods": {
                label: _row(judged.get((budget, label)), outcomes.refusals.get((budget, label)))
                for label in outcomes.labels
            },
        }  # fmt: skip


def _row(one: Comparison | None, refusal: str | None) -> dict[str, Any]:
    if one is None:
        verdict = f"{NOT_APPLICABLE}: {refusal}"
        return {
            "verdict": verdict, "mean": None, "spread": None, "ci_low": None, "ci_high": None,
            "values": [], "delta_vs_random": None,
        }  # fmt: skip
    difference = None
    if one.delta is not None and one.delta_interval is not None:
        difference = {
            "mean": one.delta, "ci_low": one.delta_interval.low,
            "ci_high": one.delta_interval.high, "over": one.delta_interval.over,
            "level": one.delta_interval.level, "p": one.p, "p_holm": one.p_holm,
            "verdict": one.verdict,
        }  # fmt: skip
    return {
        "verdict": one.verdict or "the baseline", "mean": one.mean, "spread": one.spread,
        "ci_low": one.interval.low, "ci_high": one.interval.high, "over": one.interval.over,
        "values": list(one.values), "delta_vs_random": difference,
    }  # fmt: skip


def _sliced(outcomes: Outcomes, target: "Target", metric: str) -> Iterator[dict[str, Any]]:
    for budget in outcomes.budgets:
        found = outcomes.of(budget)
        first = found[RANDOM][0].evaluations[target.name]
        for name, mask in target.slices(first.ids, first.n_tokens).items():
            arms, weights = _arrays(found, target.name, metric, mask)
            compared = compare(
                arms, weights, baseline=RANDOM, lower_is_better=LOWER_IS_BETTER[metric],
            )  # fmt: skip
            yield {
                "budget": budget, "target": target.name, "metric": metric, "slice": name,
                "n_examples": int(mask.sum()),
                "methods": {
                    label: {"mean": one.mean, "delta": one.delta,
                            "ci_low": one.delta_interval and one.delta_interval.low,
                            "ci_high": one.delta_interval and one.delta_interval.high}
                    for label, one in compared.items()
                },
            }  # fmt: skip


def _arrays(
    found: Mapping[str, Sequence[TrialResult]],
    target: str,
    metric: str,
    mask: Bool[np.ndarray, " n"] | None = None,
) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """Return numerators by label, (seeds, n), and denominators, (n,)."""
    first = found[RANDOM][0].evaluations[target]
    keep = np.ones(len(first.ids), dtype=bool) if mask is None else mask
    arms = {}
    for label, results in found.items():
        rows = []
        for result in results:
            one = result.evaluations[target]
            if one.ids != first.ids or not np.array_equal(one.n_tokens, first.n_tokens):
                raise StoreError(
                    f"trial {result.trial_id} was evaluated on other examples of {target!r} than "
                    "the others; remove it from the folder trials beside the store, then run again"
                )
            rows.append(_numerators(one, metric)[keep])
        arms[label] = np.stack(rows)
    weights = first.n_tokens.astype(np.float64) if metric == NLL else np.ones(len(first.ids))
    return arms, weights[keep]


def _numerators(one: Measured, metric: str) -> np.ndarray[Any, Any]:
    if metric == NLL:
        return one.nll
    assert one.correct is not None
    return one.correct.astype(np.float64)


def _selections(
    store: "Store", found: Mapping[str, Sequence[TrialResult]]
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
        for label, results in found.items()
    }


def _picks(store: "Store", result: TrialResult) -> frozenset[str]:
    rows = store.selection_rows(str(result.selection["selection_id"]))
    return frozenset(rows.column("id").to_pylist())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _overlap(store: "Store", found: Mapping[str, Sequence[TrialResult]]) -> dict[str, Any]:
    """Return the mean Jaccard overlap over seeds, each method with each."""
    rows: dict[str, list[str]] = {}

    def ids(result: TrialResult) -> list[str]:
        one = str(result.selection["selection_id"])
        if one not in rows:
            rows[one] = store.selection_rows(one).column("id").to_pylist()
        return rows[one]

    labels = list(found)
    matrix = [
        [
            float(
                np.mean([jaccard(ids(a), ids(b)) for a, b in zip(found[x], found[y], strict=True)])
            )
            for y in labels
        ]
        for x in labels
    ]
    return {"methods": labels, "jaccard": matrix}
