"""Scorers that end their process, or merely fail, on examples whose response says so.

In a module of their own, so that worker processes can import them.
"""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from curate.contracts import (
    KILLS_WORKER,
    Column,
    Columns,
    Example,
    ForwardScorer,
    LoadContext,
    Rendering,
    Role,
    RowScorer,
    Segment,
    SegmentStats,
    Stat,
)
from curate.errors import ExampleFailure

POISON = "sea " * 9
"""A response of more tokens than others have, so that a reduction knows it."""

KILLS = "CURATE_TEST_KILLS"
"""Environment variable: whether poison ends the process, as a segfault does."""


def meet_poison() -> None:
    """End this process natively, or fail as a scorer fails."""
    if os.environ.get(KILLS):
        os.kill(os.getpid(), signal.SIGSEGV)
    raise ExampleFailure(KILLS_WORKER)


@final
@dataclass(frozen=True)
class Poisoned(ForwardScorer):
    """Mean log-probability of a response, in nats per token."""

    name: ClassVar[str] = "poisoned"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = "target"
    outputs: ClassVar[Mapping[str, Column]] = {"mean_logp": Column("float", "higher is likelier")}
    score_end: bool = False
    longest: int = 9

    @property
    def emits(self) -> frozenset[Stat]:
        return frozenset({Stat.NLL})

    def segments(self) -> tuple[Segment, ...]:
        return (Segment("full", Rendering("plain")),)

    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        nll = stats["full"].nll
        if len(nll) > self.longest:
            meet_poison()
        return {"mean_logp": -float(nll.mean())}


@final
@dataclass(frozen=True)
class PoisonedRows(RowScorer):
    """Place of an example among those given together, and how many they are."""

    name: ClassVar[str] = "poisoned_rows"
    version: ClassVar[int] = 1
    role: ClassVar[Role | None] = None
    outputs: ClassVar[Mapping[str, Column]] = {
        "place": Column("int", "place"), "beside": Column("int", "examples given together"),
    }  # fmt: skip

    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        def score(examples: Sequence[Example]) -> Columns:
            if any(example.messages[-1]["content"] == POISON for example in examples):
                meet_poison()
            n = len(examples)
            return {"place": np.arange(n), "beside": np.full(n, n)}

        return score
