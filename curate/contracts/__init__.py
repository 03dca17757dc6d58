"""The vocabulary: what scorers, methods and ways to train are, and what they exchange."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias, final, get_args

import numpy as np
from jaxtyping import Float, Int

from curate.contracts.budget import Budget, Unit, fit_size, keep_within, spending
from curate.contracts.conversation import Example
from curate.contracts.cost import Cost
from curate.contracts.run_recipe import RunRecipe
from curate.contracts.segments import Rendering, Segment, SegmentStats, Stat
from curate.contracts.steps import (
    TARGET_SET,
    Evaluate,
    Generate,
    Judge,
    Mean,
    Outcome,
    Result,
    Revise,
    Score,
    Select,
    Step,
    Train,
    Union,
    training_settings,
)
from curate.contracts.training import (
    BatchPolicy,
    BatchStats,
    Labels,
    Loss,
    Mixture,
    Objective,
    OutputHead,
)
from curate.contracts.view import Vectors, View

__all__ = [
    "FAILURE",
    "KILLS_WORKER",
    "OUT_OF_MEMORY",
    "ROLES",
    "TARGET_SET",
    "TOKENS_RUN",
    "BatchPolicy",
    "BatchStats",
    "Budget",
    "Column",
    "Columns",
    "Cost",
    "DerivedScorer",
    "Evaluate",
    "Example",
    "Expression",
    "ForwardScorer",
    "Generate",
    "Judge",
    "Labels",
    "LoadContext",
    "Loss",
    "Mean",
    "Mixture",
    "Need",
    "Objective",
    "Outcome",
    "OutputHead",
    "PoolScorer",
    "Procedure",
    "Rendering",
    "Result",
    "Revise",
    "Role",
    "RowScorer",
    "RunRecipe",
    "RunScorer",
    "Score",
    "Scorer",
    "Segment",
    "SegmentStats",
    "Select",
    "Selection",
    "Selector",
    "Stat",
    "Step", "Train", "Union",
    "Unit", "Vectors", "View",
    "fit_size", "keep_within", "spending", "training_settings",
]  # fmt: skip

Role = Literal["target", "proxy", "encoder", "reward", "nli", "judge", "reference"]
ROLES: Final[tuple[str, ...]] = get_args(Role)

Columns: TypeAlias = Mapping[str, np.ndarray]  # column -> (rows,) or (rows, dim)

FAILURE: Final = "failure"  # extra column of a batch: why an example has no score, or None
OUT_OF_MEMORY: Final = "out_of_memory"  # the failure of an example that did not fit by itself
KILLS_WORKER: Final = (
    "kills_worker"  # and of one during which processes ended natively, as by a segfault
)
TOKENS_RUN: Final = "tokens_run"  # extra column of a batch: tokens a model ran for each example


@final
@dataclass(frozen=True, slots=True)
class Column:
    """One output column of a scorer: its type, and its meaning with unit and direction."""

    dtype: Literal["float", "int", "bool", "text", "floats", "ints", "vector"]
    meaning: str


@final
@dataclass(frozen=True, slots=True)
class Need:
    """Scores a selector or pool scorer reads: which scorer, configured how, on which role's model.

    The scorer may be None: the alias then names a score set that must already be in the store.
    ``hint`` is added to the error when the role has no model that can be used.
    """

    scorer: str | None
    role: Role | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    hint: str = ""


@final
@dataclass(frozen=True, slots=True)
class Expression:
    """A column computed from scores by the expression grammar; the view holds it under its alias."""

    text: str


class Scorer(ABC):
    """Config of a scorer, as a frozen dataclass: small, hashable, picklable. It adds columns to the pool.

    ``version`` is part of every score's key: bump it when the numbers change. ``outputs`` declares
    the columns, in order. ``role`` says whose model it runs; None for a scorer without a model.
    ``reads_weights``: False for a scorer that needs only the model's tokenizer. ``unkeyed`` names
    fields that say where it runs and change no number: they are no part of the key, nor stored.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    outputs: ClassVar[Mapping[str, Column]]
    role: ClassVar[Role | None]
    reads_weights: ClassVar[bool] = True
    unkeyed: ClassVar[frozenset[str]] = frozenset()

    @property
    def model_role(self) -> Role | None:
        """Whose model it runs as it is configured; by default that of its class."""
        return self.role

    def read_files(self) -> Mapping[str, str]:
        """Return the hash of each file of the user's that it reads, by name: part of the key."""
        return {}

    def read_targets(self) -> tuple[str, ...]:
        """Return the names of the target sets it reads: their contents are part of the key."""
        return ()

    def row_columns(self) -> tuple[str, ...]:
        """Return the columns of input rows it reads, in `Example.row`; a name may lead into objects."""
        return ()


# Forward scorers ---------------------------------------------------------------------------------


class ForwardScorer(Scorer):
    """A scorer that reduces the statistics of a causal LM's forward pass, shared with others.

    Concrete classes have the dataclass fields ``template: str`` (replaced by ``--template``) and
    ``score_end: bool`` (whether end-of-turn positions count). Without the ``optional`` ones of its
    statistics `reduce` returns None for some columns.
    """

    optional: ClassVar[frozenset[Stat]] = frozenset()
    template: str
    score_end: bool

    @property
    @abstractmethod
    def emits(self) -> frozenset[Stat]:
        """Statistics `reduce` reads."""

    @abstractmethod
    def segments(self) -> tuple[Segment, ...]:
        """Return the renderings of an example that must go through the model, the first one primary."""

    @abstractmethod
    def reduce(self, stats: Mapping[str, SegmentStats]) -> Mapping[str, Any]:
        """Turn the statistics of one example into one value per output column, in float64.

        Pure, without a model. Raise `UndefinedScore` with a reason where an example has none.
        """


# Row and pool scorers ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class LoadContext:
    """Where and with which weights a worker runs a scorer.

    ``model`` is a local folder or hub id, None for a scorer without a model; ``device`` is a torch
    device string, ``dtype`` one of float32, bfloat16, float64. ``batch_tokens`` is how many tokens,
    padding included, may run together; None for what suits the device. ``chat`` is how
    conversations go through a chat template, a `curate.models.text.chat_options.ChatOptions`, or
    None for the defaults. ``files`` has the hashes of `Scorer.read_files` that are in the key of the
    scores; empty where scores are kept under none. ``targets`` has the folder of parts of each target
    set of `Scorer.read_targets`, by name.
    """

    device: str
    dtype: str
    model: str | None = None
    revision: str | None = None
    adapter: str | None = None
    batch_tokens: int | None = None
    chat: Any = None
    files: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, Path] = field(default_factory=dict)


class RowScorer(Scorer):
    """A scorer of one example at a time by anything but a shared forward pass."""

    @abstractmethod
    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        """Load the heavy part once per worker; return a function from a batch to its columns.

        Each column has one entry per example, in order. NaN fails that example alone; so does a
        reason in the extra column `FAILURE`. The extra column `TOKENS_RUN` says what a model ran.
        """

    def costs(self, context: LoadContext) -> Callable[[Example], Cost] | None:
        """Return what an example costs, for a plan: without weights or requests; None if unknown.

        The function raises `ExampleFailure` for an example that cannot be scored, and `UndefinedScore` for
        one that has no such score.
        """
        del context
        return None


class DerivedScorer(Scorer):
    """A scorer of one example at a time that also reads other scores of the same example.

    What it reads is computed first, shard by shard, by forward, row or other derived scorers. An
    example without one of those scores fails with ``input_failed``.
    """

    @abstractmethod
    def requires(self) -> Mapping[str, Need]:
        """Return the score sets it reads, by alias."""

    @abstractmethod
    def load(self, context: LoadContext) -> Callable[[Sequence[Example], Columns], Columns]:
        """Do as `RowScorer.load`; the function also takes what is read, by ``alias.column``."""


class PoolScorer(Scorer):
    """A scorer that needs the whole pool at once, reading other scores of it."""

    @abstractmethod
    def requires(self) -> Mapping[str, Need]:
        """Return the score sets it reads, by alias."""

    @abstractmethod
    def run(self, view: View, device: str) -> Columns:
        """Return one entry per example of the view, in its order."""


# Scorers measured while a model is trained -------------------------------------------------------


class RunScorer(Scorer):
    """A scorer measured at points of a training run of its role's model.

    It says how to train; the library trains, measures and stores. Its columns are those of a
    training trajectory, ``losses`` and ``steps``.
    """

    template: str

    @abstractmethod
    def recipe(self) -> RunRecipe:
        """Return the run that is recorded."""


# Selectors ---------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Selection:
    """Chosen examples as rows of a view, best first.

    Parameters
    ----------
    indices
        Rows of the view, without repeats, (k,).
    gains
        What each pick added by the method's own measure, (k,).
    weights
        Training weight per pick, (k,), or None for equal weights.
    reasons
        Why each was picked, in words, (k,).
    excluded
        Examples of the view the method could not consider, by reason.
    warnings
        What the user should know about this selection.
    """

    indices: Int[np.ndarray, " k"]
    gains: Float[np.ndarray, " k"] | None = None
    weights: Float[np.ndarray, " k"] | None = None
    reasons: Sequence[str] | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)


class Selector(ABC):
    """Config of a selection method, as a frozen dataclass. It chooses examples and nothing else.

    ``budget_optional``: whether the method has a natural size of its own when no budget is given.
    ``experimental``: why the method should not be trusted yet, or "". ``purpose``: what it is for, the
    heading it is listed under. ``aliases``: further names that ``--method`` takes for it; what is stored
    has its own.
    ``nested``: whether a smaller budget's picks are the first picks of a larger one; False for a
    method whose picks depend on how many are asked for. ``uses_target``: whether it selects towards a
    target set, whose scores of everything it requires are in ``view.towards()``.
    """

    name: ClassVar[str]
    budget_optional: ClassVar[bool] = False
    experimental: ClassVar[str] = ""
    purpose: ClassVar[str] = "other"
    aliases: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[bool] = True
    uses_target: ClassVar[bool] = False

    @abstractmethod
    def requires(self) -> Mapping[str, Need | Expression]:
        """Return what the view must hold, by alias, so that a run can fail before the GPU hours."""

    def refuse_pool(self, view: View, budget: Budget | None) -> None:
        """Raise `BudgetError` or `ConfigError` if the pool alone shows that no selection is possible.

        Called before anything is scored, with a view without scores of at least the examples that
        will be eligible. By default every pool will do.
        """
        del view, budget

    @abstractmethod
    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        """Choose examples. Pure: same view, budget and generator state, same selection."""


# Procedures --------------------------------------------------------------------------------------


class Procedure(ABC):
    """A method that must train, generate, score or select between selections.

    A frozen dataclass whose `run` is a generator of steps, pure given their results: the driver
    executes each step, caches it by content, and resumes by replaying the finished ones.
    """

    name: ClassVar[str]
    budget_optional: ClassVar[bool] = False
    experimental: ClassVar[str] = ""
    purpose: ClassVar[str] = "other"
    aliases: ClassVar[tuple[str, ...]] = ()

    @property
    def uses_target(self) -> bool:
        """Whether it, or a stage of it, selects towards a target set."""
        return False

    @abstractmethod
    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield steps, receive their results, return the outcome."""
