"""What a benchmark hands back, and what it gets to work with."""

import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, final

from jobs.bench.profiling import Profiler

if TYPE_CHECKING:
    from jobs.bench.inputs import Inputs

Sign = Literal[">=", "<=", "<"]

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
}


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside its goal.

    Parameters
    ----------
    name
        What ``--only`` and ``--profile`` call it.
    value, unit
        The measured number, None if it was not measured; ``x`` is a ratio to the reference.
    goal
        The number it is held against, with its sign and unit.
    passed
        Whether the goal is met; None if that was not measured.
    reference
        What was measured, and against what.
    detail
        Sizes, the single runs, and whatever else a reader needs to believe the number; of a figure that
        was not measured, what to type to have it measured.
    """

    name: str
    value: float | None
    unit: str
    goal: str
    passed: bool | None
    reference: str
    detail: str


@final
@dataclass(frozen=True, slots=True)
class Goal:
    """A limit a value is held against."""

    sign: Sign
    limit: float
    unit: str

    def met(self, value: float) -> bool:
        """Return whether a value meets the goal."""
        return _COMPARE[self.sign](value, self.limit)

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:,g} {self.unit}"


def judged(
    name: str, value: float, goal: Goal, reference: str, detail: str, *, also: bool = True
) -> Figure:
    """Return a figure judged by its goal, and by ``also`` where a second condition holds it back."""
    passed = goal.met(value) and also
    return Figure(name, value, goal.unit, str(goal), passed, reference, detail)


def unmeasured(name: str, goal: Goal, reference: str, remedy: str) -> Figure:
    """Return a figure that could not be measured here, with what to type so that it can."""
    return Figure(name, None, goal.unit, str(goal), None, reference, remedy)


@final
@dataclass(frozen=True, slots=True)
class Sizes:
    """How much each figure measures. All counts are rows, except ``runs`` and ``repeats``.

    Parameters
    ----------
    runs
        Interleaved runs of a ratio.
    repeats
        Runs of a figure that is no ratio.
    kernel, large_kernel, donod, loops, trained, trainers, rendered
        Real rows run through the model, the last through its tokenizer alone.
    ingest
        Rows of the file that is ingested; None is all of it.
    stored
        Examples in the store that is committed to and selected from.
    short_runs
        Rows of the two runs whose memory is compared.
    growth
        Rows that growth is measured over, ascending.
    large
        Examples in the store of the figures of ten million.
    methods
        Examples that the growth of every selector is measured over, ascending.
    """

    runs: int
    repeats: int
    kernel: int
    large_kernel: int
    donod: int
    loops: int
    trained: int
    trainers: int
    rendered: int
    ingest: int | None
    stored: int
    short_runs: tuple[int, int]
    growth: tuple[int, ...]
    large: int
    methods: tuple[int, ...]


FULL: Final = Sizes(
    5, 3, 256, 128, 192, 128, 256, 128, 1_024, None, 1_000_000, (1_000, 100_000),
    (10_000, 100_000, 1_000_000), 10_000_000, (10_000, 100_000, 1_000_000, 10_000_000),
)  # fmt: skip
QUICK: Final = Sizes(
    1, 1, 2, 2, 4, 2, 24, 6, 40, 200, 2_000, (50, 400), (40, 400), 4_000, (40, 400),
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """What every figure works with.

    Parameters
    ----------
    profiler
        Where a profile was asked for.
    out
        Folder of the reports, for figures with a page of their own; None writes none.
    keep
        Whether a page that a stopped run left is gone on with.
    facts
        What the run is measured on, see `machine.facts`.
    """

    sizes: Sizes
    inputs: "Inputs"
    profiler: Profiler | None = None
    out: Path | None = None
    keep: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def profiled(self) -> Iterator[None]:
        """Profile the body if a profile was asked for; only our side of a comparison belongs here."""
        if self.profiler is None:
            yield
            return
        with self.profiler.running():
            yield
