"""The contract of procedures."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from curate.contracts import (
    TARGET_SET,
    Budget,
    Evaluate,
    Generate,
    Judge,
    Mean,
    Outcome,
    Procedure,
    Result,
    Revise,
    Score,
    Select,
    Step,
    Train,
    Union,
)
from curate.errors import CurateError, ProcedureError
from curate.registry import get_method, get_scorer
from curate.select.procedures.driver import run_procedure
from curate.select.procedures.foresee import PoolSize, foreseen
from curate.testing.common import check_config, name_of, require
from curate.train.recipes import build_config

Execute: TypeAlias = Callable[[Step], Result]

MAX_STEPS: Final = 1_000
_MADE_UP_POOL: Final = PoolSize(1_000, 900, 120.0)


class _KilledError(Exception):
    """Stands for a crash in the middle of a run."""


@dataclass
class _Recorder:
    """Executes steps by making up their results, and can crash before a given one."""

    execute: Execute
    crash_at: int | None = None
    steps: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> Result:
        if len(self.steps) == self.crash_at:
            raise _KilledError
        require(len(self.steps) < MAX_STEPS, f"a run takes more than {MAX_STEPS} steps")
        self.steps.append(step)
        return self.execute(step)


def check_procedure(
    procedure: Procedure, budget: Budget | None = None, execute: Execute | None = None
) -> None:
    """Check every promise of a procedure with made-up results, through the real driver.

    Configuration (frozen, hashable, pickles); steps that are steps, name registered methods,
    scorers and settings of training that exist, and can be written as JSON; the same steps for the
    same results; a finished run that executes nothing when repeated; a run broken off before any
    step that resumes to the same outcome, executing only what was left; an outcome that names a
    selection it was given.

    Parameters
    ----------
    budget
        What to spend; 10% by default.
    execute
        Makes up the result of a step; by default an id and counts that depend on its place alone.

    Raises
    ------
    ContractError
        A promise is broken; the message says which.
    """
    check_config(procedure)
    label = f"procedure {name_of(procedure)}"
    spent = Budget.parse("10%") if budget is None else budget
    with tempfile.TemporaryDirectory() as folder:
        whole = _Recorder(execute or made_up_result)
        outcome = _drive(procedure, spent, whole, Path(folder) / "whole.jsonl", label)
        _check_steps(procedure, whole.steps, outcome, whole.execute, label)
        again = _Recorder(whole.execute)
        repeated = _drive(procedure, spent, again, Path(folder) / "whole.jsonl", label)
        require(not again.steps, f"{label} executes {len(again.steps)} steps again when repeated")
        require(repeated == outcome, f"{label} ends differently when its results are replayed")
        for place in range(len(whole.steps)):
            journal = Path(folder) / f"crash-{place}.jsonl"
            _check_resume(procedure, spent, whole, outcome, place, journal, label)


def made_up_result(step: Step) -> Result:
    """Return a plausible result for a step, the same for the same step."""
    return foreseen(step, _MADE_UP_POOL)


def _drive(
    procedure: Procedure, budget: Budget, recorder: _Recorder, journal: Path, label: str
) -> Outcome:
    try:
        return run_procedure(procedure, budget, 0, recorder, journal)
    except ProcedureError as error:
        require(False, f"{label}: {error}")
        raise


def _check_steps(
    procedure: Procedure, steps: list[Step], outcome: Outcome, execute: Execute, label: str
) -> None:
    require(bool(steps), f"{label} takes no step; a method without steps is a selector")
    selections = _made_by(Select | Union | Revise, steps, execute)
    models = {"", *_made_by(Train, steps, execute)}
    texts = _made_by(Generate | Judge, steps, execute)
    require(
        outcome.selection_id in selections,
        f"{label} ends with selection {outcome.selection_id!r}, which no step of it made",
    )
    for step in steps:
        try:
            if isinstance(step, Select):
                get_method(step.method)
            elif isinstance(step, Score):
                get_scorer(step.scorer)
            elif isinstance(step, Train):
                build_config("", step.settings)
                require(
                    step.selection != TARGET_SET or procedure.uses_target,
                    f"{label} trains on the target set, but its uses_target is False",
                )
        except CurateError as error:
            require(False, f"{label} takes a step that cannot be executed: {error}")
        for what, name, known in _named(step, selections, models, texts):
            require(name in known, f"{label} {what} {name!r}, which no step of it made")


def _made_by(kind: Any, steps: list[Step], execute: Execute) -> set[str]:
    return {execute(step).id for step in steps if isinstance(step, kind)}


def _named(
    step: Step, selections: set[str], models: set[str], texts: set[str]
) -> Iterator[tuple[str, str, set[str]]]:
    """Yield what a step refers to: in words, the id, and the ids there are."""
    match step:
        case Select():
            for name in (step.within, *step.without):
                if name is not None:
                    yield (
                        f"selects {'within' if name == step.within else 'without'}",
                        name,
                        selections,
                    )
        case Score():
            if step.within is not None:
                yield "scores within", step.within, selections
            yield "scores with model", step.model, models
        case Union():
            for name in step.selections:
                yield "unites", name, selections
        case Train():
            for name in filter(None, (step.selection, step.evaluate)):
                yield "trains on or with", name, {*selections, TARGET_SET}
        case Evaluate():
            yield "evaluates on", step.selection, selections
            yield "evaluates model", step.model, models
            yield "compares with model", step.minus or "", models
        case Mean():
            yield "averages over", step.selection, selections
        case Generate():
            yield "generates for", step.selection, selections
            yield "generates with model", step.model, models - {""}
        case Judge():
            yield "judges candidates", step.candidates, texts
        case Revise():
            yield "revises selection", step.kept, selections
            yield "revises by verdicts", step.verdicts, texts


def _check_resume(
    procedure: Procedure,
    budget: Budget,
    whole: _Recorder,
    outcome: Outcome,
    place: int,
    journal: Path,
    label: str,
) -> None:
    broken = _Recorder(whole.execute, crash_at=place)
    with suppress(_KilledError):
        _drive(procedure, budget, broken, journal, label)
    resumed = _Recorder(whole.execute)
    ended = _drive(procedure, budget, resumed, journal, label)
    require(
        broken.steps + resumed.steps == whole.steps,
        f"{label} takes other steps when it is resumed before step {place + 1}",
    )
    require(ended == outcome, f"{label} ends differently when resumed before step {place + 1}")
