"""What a method cost: the scores it read, the runs its scores were recorded in, and the training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curate.errors import ModelError
from curate.models.load import resolve_model
from curate.scoring.recorded.record import run_costs

if TYPE_CHECKING:
    from curate.prove.trials import TrialResult
    from curate.store import ScoreSetStatus, Store

FORWARD: int = 2  # floating-point operations per parameter and token


def cost_of(
    store: "Store", results: Sequence["TrialResult"], statuses: Mapping[str, "ScoreSetStatus"]
) -> dict[str, Any]:
    """Return the cost of one method at one budget, over its trials.

    Scores count once and in full, whenever they were computed; so does what a method trains, evaluates,
    writes and judges in order to select. Training counts every trial, including evaluation. ``flops`` is
    an estimate, ``energy_j`` what the driver reports; None where unknown.
    """
    scoring = _scoring(store, results, statuses)
    training = [result.cost for result in results]
    energies = [cost.get("energy_j") for cost in training]
    return {
        "scoring_s": scoring["seconds"],
        "scoring_tokens": scoring["tokens"],
        "scoring_flops": scoring["flops"],
        "scoring_energy_j": scoring["energy_j"],
        "training_s": sum(cost["seconds"] for cost in training),
        "training_tokens": sum(cost["tokens"] for cost in training),
        "evaluation_tokens": sum(cost["other_tokens"] for cost in training),
        "training_flops": sum(cost["flops"] for cost in training),
        "training_energy_j": None if None in energies else sum(energies),
        "score_sets": scoring["set_ids"],
    }


def _scoring(
    store: "Store", results: Sequence["TrialResult"], statuses: Mapping[str, "ScoreSetStatus"]
) -> dict[str, Any]:
    used = {
        set_id for result in results for set_id in _score_sets(store, result.selection, statuses)
    }
    seconds, tokens, flops, known_flops = 0.0, 0, 0.0, True
    energies: list[float | None] = []
    for set_id in sorted(used):
        cost = _of_set(store, statuses[set_id])
        seconds += cost["seconds"]
        tokens += cost["tokens"]
        known_flops = known_flops and cost["flops"] is not None
        flops += cost["flops"] or 0.0
        energies.append(cost["energy_j"])
    for trained in _procedures(results):
        seconds += trained["seconds"]
        tokens += int(trained["tokens"])
        flops += trained["flops"]
        energies.append(None)
    return {
        "seconds": seconds, "tokens": tokens, "flops": flops if known_flops else None,
        "energy_j": None if None in energies else sum((e for e in energies if e), 0.0),
        "set_ids": sorted(used),
    }  # fmt: skip


def _procedures(results: Sequence["TrialResult"]) -> list[Mapping[str, Any]]:
    """Return what training, evaluating, writing and judging cost, for a method that does so to select."""
    by_selection = {
        result.selection["selection_id"]: result.selection["procedure"]
        for result in results
        if "procedure" in result.selection
    }
    return list(by_selection.values())


def _score_sets(
    store: "Store", selection: Mapping[str, Any], statuses: Mapping[str, "ScoreSetStatus"]
) -> Iterator[str]:
    """Yield the sets a selection read, and those of the selections it was made inside of."""
    for score_set in selection["score_sets"].values():
        yield from _with_inputs(score_set["set_id"], statuses)
    if selection.get("within"):
        yield from _score_sets(store, store.selection(selection["within"]), statuses)


def _with_inputs(set_id: str, statuses: Mapping[str, "ScoreSetStatus"]) -> Iterator[str]:
    """Yield a score set and those it was computed from."""
    if set_id in statuses:
        yield set_id
        for read in statuses[set_id].spec["key"]["inputs"].values():
            yield from _with_inputs(read, statuses)


def _of_set(store: "Store", status: "ScoreSetStatus") -> dict[str, Any]:
    if status.scorer == "trajectory":
        run = run_costs(store, status.set_id)
        if run is not None:
            return {**run, "tokens": run["tokens"] + run["other_tokens"]}
    return {
        "seconds": status.wall_s, "tokens": status.tokens, "flops": _flops(status), "energy_j": None,
    }  # fmt: skip


def _flops(status: "ScoreSetStatus") -> float | None:
    if status.tokens == 0:
        return 0.0
    name = status.spec["run"].get("model")
    if not name:
        return None
    try:
        parameters = resolve_model(name, revision=status.spec["run"].get("revision")).n_parameters
    except ModelError:
        return None  # the model has been moved since
    return None if parameters is None else float(FORWARD * parameters * status.tokens)
