"""What a procedure trains on, and scoring with a model that it has trained."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from curate.contracts import TARGET_SET, Role
from curate.errors import ConfigError
from curate.train.data import TrainRow, rows_of_pool, rows_of_selection

if TYPE_CHECKING:
    from curate.scoring.options import ScoringOptions
    from curate.store import Store


def rows_to_train(
    store: "Store", selection: str, target: str | None
) -> tuple[list[TrainRow], list[str]]:
    """Return the rows that a `Train` step names, and what tells them apart beside its own content.

    Parameters
    ----------
    selection
        Id of a selection, or `TARGET_SET`: then the content hash of the target set is returned too.
    target
        Name of the target set that the run selects towards, if it does.

    Raises
    ------
    ConfigError
        The target set is named, but the run selects towards none.
    """
    if selection != TARGET_SET:
        return rows_of_selection(store, selection), []
    if target is None:
        raise ConfigError(
            "a step trains on the target set, but the run selects towards none; let uses_target of the "
            "procedure be True, and pass --target NAME"
        )
    small = store.target(target)
    return rows_of_pool(small), [small.pool_hash()]


def scoring_with(
    scoring: "ScoringOptions", role: Role, weights: Path, *, is_adapter: bool
) -> "ScoringOptions":
    """Return options that score with trained weights where ``scoring`` has the model of a role.

    Raises `ConfigError` for options with an adapter, since training starts from the model without it.
    """
    if scoring.adapter is not None:
        raise ConfigError(
            f"--adapter {scoring.adapter} is on the model that scores, but not on the one that is "
            "trained; merge it into the model, and pass that as --model"
        )
    if is_adapter:
        return replace(scoring, adapter=str(weights))
    return replace(scoring, models={**scoring.models, role: str(weights)}, revision=None)


def refuse_untrained(procedure: str, role: Role, scoring: "ScoringOptions") -> None:
    """Raise `ConfigError` where no model is given for a role that a procedure trains."""
    if role not in scoring.models:
        flag = "--model MODEL" if role == "target" else f"--model-for {role}=MODEL"
        raise ConfigError(f"method {procedure!r} trains a model; pass {flag}")
