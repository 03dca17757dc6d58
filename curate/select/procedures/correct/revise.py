"""Decide the outcome for each response, and save the resulting selection and revisions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from curate.contracts import Procedure, Revise
from curate.contracts.budget import Budget
from curate.errors import DataError
from curate.scorers.bsdetector.verdict import ROUNDING, Verdict, decide
from curate.select.procedures.correct.parts import read_parts
from curate.select.procedures.correct.places import candidates_folder, read_note, verdicts_folder
from curate.select.record import LENGTH_ALIAS, config_of
from curate.store.records import canonical_json, digest, utc_now

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.select.options import SelectOptions
    from curate.store import Store

NOT_BETTER: Final = "not_better"
ORDERS_DISAGREE: Final = "orders_disagree"
DUPLICATE: Final = "duplicate"
OVER_BUDGET: Final = "over_budget"


@final
@dataclass(frozen=True, slots=True)
class KeptExample:
    """One example of the result: its confidence, and the verdict's row if its response is new."""

    id: str
    gain: float
    revision: Mapping[str, Any] | None = None


@final
@dataclass(frozen=True, slots=True)
class Corrected:
    """What remains, most confident first, and what was dropped, by reason."""

    kept: Sequence[KeptExample]
    dropped: Mapping[str, int]

    @property
    def revisions(self) -> list[Mapping[str, Any]]:
        """The verdicts' rows of the examples with a new response."""
        return [kept.revision for kept in self.kept if kept.revision is not None]

    def counts(self) -> dict[str, Any]:
        """Return the counts as a record keeps them."""
        n_replaced = len(self.revisions)
        return {
            "n_kept": len(self.kept) - n_replaced,
            "n_replaced": n_replaced,
            "n_dropped": sum(self.dropped.values()),
            "dropped": dict(self.dropped),
        }


def correct(
    kept: Mapping[str, float],
    judged: Sequence[Mapping[str, Any]],
    above: float,
    limit: int | None = None,
) -> Corrected:
    """Keep, replace or drop each response.

    A candidate that would duplicate an example that is kept, or has a better verdict, is
    dropped: examples are distinct. Order: by confidence, of the response or of the verdict on its
    replacement; ties by id.

    Parameters
    ----------
    kept
        Confidence of the responses the filter keeps, by example id.
    judged
        Candidates and verdicts, by parent.
    above
        What the confidence of a verdict must exceed.
    limit
        Keep at most this many.
    """
    dropped: Counter[str] = Counter()
    unchanged = dict(kept)
    wanted = []
    for row in judged:
        fate = decide(row["parent_id"] in kept, _verdict(row), above)
        if fate == "replace":
            wanted.append(row)
            unchanged.pop(row["parent_id"], None)
        elif fate == "drop":
            dropped[_why(row, above)] += 1
    present = set(unchanged)
    examples = [KeptExample(example, gain) for example, gain in unchanged.items()]
    for row in sorted(wanted, key=lambda row: (-row["confidence"], row["parent_id"])):
        if row["id"] in present:
            dropped[DUPLICATE] += 1
            continue
        present.add(row["id"])
        examples.append(KeptExample(row["parent_id"], row["confidence"], row))
    examples.sort(key=lambda example: (-example.gain, example.id))
    if limit is not None and len(examples) > limit:
        dropped[OVER_BUDGET] = len(examples) - limit
        examples = examples[:limit]
    return Corrected(examples, dict(sorted(dropped.items())))


def revised(
    store: "Store", procedure: Procedure, options: "SelectOptions", step: Revise
) -> dict[str, Any]:
    """Save, under a procedure's name, the selection a step asks for, with its revisions.

    Returns its record. Nothing is generated: candidates and verdicts come from the store.
    """
    import pyarrow as pa

    from curate.store.results.revisions import ROWS_SCHEMA

    base = store.selection(step.kept)
    table = store.selection_rows(step.kept)
    kept = dict(zip(table["id"].to_pylist(), table["gain"].to_pylist(), strict=True))
    judged, model = judged_rows(store, step.verdicts)
    made = correct(kept, judged, step.above, step.limit)
    if not made.kept:
        raise DataError(f"method {procedure.name!r} kept none of {base['n_pool']} examples")
    record = _record(store, procedure, options, step, base, made, model)
    rows = [{**row, "model": model} for row in made.revisions]
    revisions = pa.Table.from_pylist(rows, schema=ROWS_SCHEMA)
    store.save_revised(record, _selection_rows(made.kept), revisions)
    return record


def judged_rows(store: "Store", verdicts: str) -> tuple[list[dict[str, Any]], str]:
    """Return candidates with their verdicts, in order of parent id, and what wrote them, in words."""
    folder = verdicts_folder(store, verdicts)
    candidates = candidates_folder(store, read_note(folder)["step"]["candidates"])
    written = read_parts(candidates)[0].to_pylist()
    judged = {row["parent_id"]: row for row in read_parts(folder)[0].to_pylist()}
    rows = [{**row, **judged[row["parent_id"]]} for row in written if row["parent_id"] in judged]
    return rows, str(read_note(candidates)["model"])


def why_dropped(store: "Store", record: Mapping[str, Any], example_id: str) -> str | None:
    """Return why a selection dropped an example whose candidate was judged, or None."""
    step = record["revise"]
    for row in judged_rows(store, step["verdicts"])[0]:
        if row["parent_id"] == example_id:
            if decide(False, _verdict(row), step["above"]) == "replace":
                return f"{DUPLICATE} or {OVER_BUDGET}"
            verdict = "" if row["failure"] else f" (verdict {row['confidence']:.4f})"
            return f"{_why(row, step['above'])}{verdict}"
    return None


def _verdict(row: Mapping[str, Any]) -> Verdict | None:
    if row["failure"] is not None:
        return None
    return Verdict(row["consistency"], row["reflection"], row["confidence"], row["agree"])


def _why(row: Mapping[str, Any], above: float) -> str:
    """Return why a response was not replaced."""
    if row["failure"] is not None:
        return str(row["failure"])
    return ORDERS_DISAGREE if row["confidence"] > above + ROUNDING else NOT_BETTER


def _selection_rows(examples: Sequence[KeptExample]) -> "pa.Table":
    import pyarrow as pa

    reasons = [
        f"confidence {example.gain:.4f}"
        if example.revision is None
        else f"revised, verdict {example.gain:.4f}; confidence before {example.revision['parent_confidence']:.4f}"
        for example in examples
    ]
    return pa.table(
        {
            "id": pa.array([example.id for example in examples], pa.string()),
            "rank": pa.array(np.arange(1, len(examples) + 1), pa.int64()),
            "gain": pa.array([example.gain for example in examples], pa.float64()),
            "weight": pa.array(np.ones(len(examples)), pa.float64()),
            "reason": pa.array(reasons, pa.string()),
        }
    )


def _record(
    store: "Store",
    procedure: Procedure,
    options: "SelectOptions",
    step: Revise,
    base: Mapping[str, Any],
    made: Corrected,
    model: str,
) -> dict[str, Any]:
    shared = ("where", "include", "exclude", "quota", "datasets", "within", "score_sets")
    identity = {
        **{name: base[name] for name in shared},
        "method": procedure.name,
        "config": config_of(procedure),
        "budget": options.budget and str(Budget.parse(options.budget)),
        "seed": options.seed,
        "selections": [step.kept],
        "revise": {"verdicts": step.verdicts, "above": step.above, "limit": step.limit},
    }
    n_tokens, ratio = _tokens(store, base, made)
    counts = {
        **{name: base["counts"][name] for name in ("n_pool", "n_eligible", "n_excluded")},
        "n_selected": len(made.kept),
        "n_tokens": n_tokens,
    }
    corrected = {**made.counts(), "model": model}
    return {
        "selection_id": digest(canonical_json(identity), 8),
        **identity,
        **counts,
        "counts": {**counts, **made.counts()},
        "corrected": corrected,
        "length_ratio": ratio,
        "warnings": base["warnings"],
        "created_at": utc_now(),
        **{name: base[name] for name in ("specs", "inputs", "versions")},
    }


def _tokens(
    store: "Store", base: Mapping[str, Any], made: Corrected
) -> tuple[int | None, float | None]:
    """Return the tokens of the result, and its mean length over the pool's, where they are known."""
    if LENGTH_ALIAS not in base["score_sets"] or base["length_ratio"] is None:
        return None, None
    set_id = base["score_sets"][LENGTH_ALIAS]["set_id"]
    view = store.view(bind={}, within=base["selection_id"], tokens_set=set_id)
    assert view.tokens is not None
    own = dict(zip([i.decode() for i in view.ids], view.tokens.tolist(), strict=True))
    spent = [
        example.revision["n_tokens"] if example.revision else own[example.id]
        for example in made.kept
    ]
    if None in spent:
        return None, None
    mean_of_pool = base["n_tokens"] / base["n_selected"] / base["length_ratio"]
    return sum(spent), sum(spent) / len(spent) / mean_of_pool
