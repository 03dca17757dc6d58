"""What a step of a procedure would come to, made up: enough to go through its steps without any work."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, final

from curate.contracts import (
    Budget,
    Evaluate,
    Generate,
    Judge,
    Mean,
    Result,
    Revise,
    Score,
    Select,
    Step,
    Train,
    Union,
)
from curate.select.procedures.driver import step_to_json

_COST: Final = {"tokens": 12_000, "seconds": 9.5, "flops": 1e12}


@final
@dataclass(frozen=True, slots=True)
class PoolSize:
    """How many examples a pool has, how many of them are eligible, and the mean tokens of one."""

    n_pool: int
    n_eligible: int
    tokens: float

    def count(self, budget: str | None) -> int:
        """Return about how many examples a budget is; without one, a tenth of the pool."""
        spent = Budget.parse(budget or "10%")
        if spent.is_share:
            return spent.share_of(
                self.n_eligible if spent.unit == "eligible-share" else self.n_pool
            )
        return max(1, int(spent.amount / self.tokens if spent.counts_tokens else spent.amount))


def foreseen(step: Step, size: PoolSize) -> Result:
    """Return a plausible result for a step, the same for the same step."""
    name = hash_of(step)
    draw = int(name, 16) / 16**8  # in [0, 1), another number for another step
    facts: Mapping[str, Any] = {}
    match step:
        case Select():
            n = size.count(step.budget)
            facts = {
                "n_pool": size.n_pool, "n_eligible": size.n_eligible, "n_selected": n,
                "n_tokens": round(size.tokens * n),
            }  # fmt: skip
        case Score():
            facts = {"n_examples": size.n_pool, "n_failed": 0, "tokens": 50_000}
        case Union():
            facts = {"n_selected": 100}
        case Train():
            facts = {**_COST, "nll": 1 + draw}
        case Evaluate():
            facts = {"groups": {"0": [60, 1 + draw], "1": [40, 2 - draw]}}
        case Mean():
            facts = {"mean": {name: draw + i for i, name in enumerate(step.expressions)}}
        case Generate():
            facts = {"n_rows": 400, "n_written": 390, "failed": {"empty": 10}, **_COST}
        case Judge():
            facts = {"n_rows": 400, "n_judged": 390, "mass": draw, **_COST}
        case Revise():
            facts = {"n_kept": 100, "n_replaced": 30, "n_dropped": 370, "n_selected": 130}
    return Result(f"{type(step).__name__.lower()}-{name}", facts)


def hash_of(step: Step) -> str:
    """Return a short name for a step's content."""
    content = json.dumps(step_to_json(step), sort_keys=True)
    return blake2b(content.encode(), digest_size=4).hexdigest()
