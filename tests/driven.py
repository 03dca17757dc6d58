"""Drive a procedure with made-up results, without a store and without a model."""

from collections.abc import Callable, Mapping
from typing import Any

from curate.contracts import Budget, Outcome, Procedure, Result

Facts = Callable[[Any, int], Mapping[str, Any]]


def drive(
    procedure: Procedure, facts_of: Facts, budget: str | None = None, seed: int = 7
) -> tuple[list[Any], Outcome]:
    """Run a procedure to its end; return its steps and its outcome.

    ``facts_of`` makes the facts of a step from the step and its number, counted from 1. The id of
    a result is the step's kind and that number: ``Select-1``.
    """
    run = procedure.run(None if budget is None else Budget.parse(budget), seed)
    steps: list[Any] = []
    result = None
    while True:
        try:
            step = run.send(result)
        except StopIteration as ended:
            return steps, ended.value
        steps.append(step)
        facts = facts_of(step, len(steps))
        result = Result(f"{type(step).__name__}-{len(steps)}", facts)
