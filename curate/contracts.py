"""The vocabulary of `curate`: what a scorer, a selector and a procedure are, and what they exchange."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Final, Literal, TypeAlias, final, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from curate.budget import Budget, Unit, fit_size, keep_within
from curate.run_recipe import RunRecipe
from curate.view import Vectors, View

__all__ = [
    "ROLES", "Budget", "Column", "Columns", "Example", "Expression", "ForwardScorer", "LoadContext",
    "Need", "Outcome", "PoolScorer", "Procedure", "Rendering", "Result", "Role", "RowScorer",
    "RunRecipe", "RunScorer", "Score", "Scorer", "Segment", "SegmentStats", "Select", "Selection", "Selector", "Stat", "Step",
    "Unit", "Vectors", "View", "fit_size", "keep_within",
]  # fmt: skip

Role = Literal["target", "proxy", "encoder", "reward", "nli", "judge", "reference"]
ROLES: Final[tuple[str, ...]] = get_args(Role)

Columns: TypeAlias = Mapping[str, np.ndarray]  # column -> (rows,) or (rows, dim)


@final
@dataclass(frozen=True, slots=True)
class Example:
    """One training item: canonical messages, the last one from the assistant.

    A message is a mapping with ``role`` and ``content`` and, where given, ``name``, ``tool_calls``,
    ``tool_call_id`` and ``reasoning_content``; ``content`` is text or a list of parts.
    """

    id: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] | None = None


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

    The scorer may be None: then the alias names a score set that must already be in the store.
    """

    scorer: str | None
    role: Role | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Expression:
    """A column computed from scores by the expression grammar; the view holds it under its alias."""

    text: str


class Scorer(ABC):
    """Config of a scorer, as a frozen dataclass: small, hashable, picklable. It adds columns to the pool.

    ``version`` is part of every score's key: bump it when the numbers change. ``outputs`` declares
    the columns, in order. ``role`` says whose model it runs; None for a scorer without a model.
    ``reads_weights``: False for a scorer that needs no more of the model than its tokenizer.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    outputs: ClassVar[Mapping[str, Column]]
    role: ClassVar[Role | None]
    reads_weights: ClassVar[bool] = True


# Forward scorers ---------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Rendering:
    """Everything that decides the token ids and the scored positions of one segment.

    Parameters
    ----------
    template
        A text template of `curate.scoring.templates`, or ``chat`` for the tokenizer's own.
    part
        ``full``: prompt and response. ``response``: the scored turns alone, after ``lead``.
    lead
        Unscored text in front of a lone response.
    turns
        Which assistant turns are scored: ``all`` or the ``last``.
    boundary
        ``offsets``: the whole text is tokenised once, and a token that straddles the start of a
        response belongs to it. ``separate``: the pieces are tokenised one by one.
    max_length
        Cap in tokens below the model's own context, or None.
    scored
        ``response``: the tokens of the assistant turns. ``all``: every token that has one before it.
    """

    template: str
    part: Literal["full", "response"] = "full"
    lead: str = ""
    turns: Literal["all", "last"] = "all"
    boundary: Literal["offsets", "separate"] = "offsets"
    max_length: int | None = None
    scored: Literal["response", "all"] = "response"


@final
@dataclass(frozen=True, slots=True)
class Segment:
    """One run of an example through the model: a name within its scorer, and the rendering."""

    name: str
    rendering: Rendering


class Stat(Enum):
    """What the one-pass kernel can emit per segment; a pass computes only what is asked for."""

    NLL = "nll"
    ENTROPY = "entropy"
    HEAD_GRAM = "head_gram"
    MEAN_HIDDEN = "mean_hidden"
    WEIGHTED_HIDDEN = "weighted_hidden"
    LAST_HIDDEN = "last_hidden"


@final
@dataclass(frozen=True, slots=True, eq=False)
class SegmentStats:
    """What one pass measured on one segment of one example. All float64.

    Parameters
    ----------
    nll
        Negative log-likelihood in nats of each scored token, (T,), in order.
    is_end
        Which scored positions are the end of a turn (EOS or an end-of-turn marker), (T,); whether
        they count is the scorer's decision.
    truncated
        Whether at least one token of the segment did not fit the context.
    n_tokens
        Tokens of the segment, scored or not.
    entropy
        Entropy in nats of the predictive distribution at each scored position, (T,).
    head_inner, head_sq_norm
        For the mean loss over scored positions: the inner product of the LM head's weight with its
        gradient, and the squared Frobenius norm of that gradient.
    head_weight_sq_norm
        Squared Frobenius norm of the LM head's weight.
    mean_hidden, weighted_hidden, last_hidden
        Pooled final hidden states over all tokens of the segment but the appended end token, (dim,).
    """

    nll: Float[np.ndarray, " T"]
    is_end: Bool[np.ndarray, " T"]
    truncated: bool
    n_tokens: int
    entropy: Float[np.ndarray, " T"] | None = None
    head_inner: float | None = None
    head_sq_norm: float | None = None
    head_weight_sq_norm: float | None = None
    mean_hidden: Float[np.ndarray, " dim"] | None = None
    weighted_hidden: Float[np.ndarray, " dim"] | None = None
    last_hidden: Float[np.ndarray, " dim"] | None = None


class ForwardScorer(Scorer):
    """A scorer that reduces the statistics of a causal LM's forward pass, shared with others.

    Concrete classes have the dataclass fields ``template: str`` (replaced by ``--template``) and
    ``score_end: bool`` (whether end-of-turn positions count).
    """

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

        Pure, without a model. Raise `ExampleFailure` with a reason for an undefined score.
        """


# Row and pool scorers ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class LoadContext:
    """Where and with which weights a worker runs a scorer.

    ``model`` is a local folder or hub id, None for a scorer without a model; ``device`` is a torch
    device string, ``dtype`` one of float32, bfloat16, float64.
    """

    device: str
    dtype: str
    model: str | None = None
    revision: str | None = None
    adapter: str | None = None


class RowScorer(Scorer):
    """A scorer of one example at a time by anything but a shared forward pass."""

    @abstractmethod
    def load(self, context: LoadContext) -> Callable[[Sequence[Example]], Columns]:
        """Load the heavy part once per worker; return a function from a batch to its columns.

        Each column has one entry per example, in order. NaN fails that example alone.
        """


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
        What the user should know about this choice.
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
    ``experimental``: a reason not to trust it yet, or "".
    ``nested``: whether a smaller budget's picks are the first picks of a larger one; False for a
    method whose picks depend on how many are asked for.
    """

    name: ClassVar[str]
    budget_optional: ClassVar[bool] = False
    experimental: ClassVar[str] = ""
    nested: ClassVar[bool] = True

    @abstractmethod
    def requires(self) -> Mapping[str, Need | Expression]:
        """Return what the view must hold, by alias, so that a run can fail before the GPU hours."""

    @abstractmethod
    def select(self, view: View, budget: Budget | None, rng: np.random.Generator) -> Selection:
        """Choose examples. Pure: same view, budget and generator state, same selection."""


# Procedures --------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Select:
    """Step: select with a method, inside the whole pool or inside an earlier step's selection."""

    method: str
    budget: str | None
    config: Mapping[str, Any] = field(default_factory=dict)
    within: str | None = None  # a selection id
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class Score:
    """Step: make sure the pool has a score set; nothing is computed twice."""

    scorer: str
    config: Mapping[str, Any] = field(default_factory=dict)
    role: Role | None = None


Step: TypeAlias = Select | Score


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What a step left in the store: the id of its selection or score set, and its facts."""

    id: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What a procedure ends with: a selection id, and revisions of responses where it wrote any."""

    selection_id: str
    revisions: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()


class Procedure(ABC):
    """A method that must train, generate, score or select between selections.

    A frozen dataclass whose `run` is a generator of steps, pure given their results: the driver
    executes each step, caches it by content, and resumes by replaying the finished ones.
    """

    name: ClassVar[str]
    budget_optional: ClassVar[bool] = False
    experimental: ClassVar[str] = ""

    @abstractmethod
    def run(self, budget: Budget | None, seed: int) -> Generator[Step, Result, Outcome]:
        """Yield steps, receive their results, return the outcome."""
