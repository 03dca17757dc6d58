"""What a procedure may ask for, one step at a time, and what it gets back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, final

if TYPE_CHECKING:
    from curate.contracts import Role


@final
@dataclass(frozen=True, slots=True)
class Select:
    """Step: select with a method, inside the whole pool or inside an earlier step's selection.

    ``within`` is the id of a selection to stay inside of, ``without`` are ids of selections whose
    examples are out of the question.
    """

    method: str
    budget: str | None
    config: Mapping[str, Any] = field(default_factory=dict)
    within: str | None = None
    seed: int = 0
    without: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Score:
    """Step: make sure the pool has a score set; nothing is computed twice."""

    scorer: str
    config: Mapping[str, Any] = field(default_factory=dict)
    role: "Role | None" = None


@final
@dataclass(frozen=True, slots=True)
class Unite:
    """Step: one selection of all examples of several, in their order; the first to name one wins."""

    selections: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Train:
    """Step: fine-tune the model of a role on a selection with the built-in loop.

    The result's id names the trained model for later steps of the run. Its facts are ``tokens``,
    ``seconds``, ``flops`` and, with ``evaluate``, ``nll``: the mean loss in nats per response token
    on that selection's examples.

    Parameters
    ----------
    selection
        What to train on.
    settings
        Of `curate.train.TrainConfig`, by dotted name. Without ``data.batch_tokens`` a batch is a
        quarter of the selection's tokens at most.
    evaluate
        A selection of held-out examples, or None.
    """

    selection: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    role: "Role" = "target"
    seed: int = 0
    evaluate: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Evaluate:
    """Step: the response loss of a selection's examples under a trained model, averaged by group.

    The result's facts are ``groups``: by value of the integer expression ``by``, ``[n, mean]`` of
    the examples' mean NLL in nats per response token.

    Parameters
    ----------
    model
        A model an earlier step trained, or the role's own by the empty id.
    by, bind
        Expression, and the score sets its aliases stand for.
    minus
        Another model: the mean is of its loss minus this one's, so that more is learned better.
    answers
        If positive, the mean is of the loss of the reference minus that of the model's own greedy
        answer of at most so many tokens.
    """

    model: str
    selection: str
    by: str
    bind: Mapping[str, str] = field(default_factory=dict)
    minus: str | None = None
    answers: int = 0
    role: "Role" = "target"


@final
@dataclass(frozen=True, slots=True)
class Mean:
    """Step: the mean of expressions over a selection's examples; facts ``mean``, by name.

    ``bind`` fixes the score sets the expressions' aliases stand for.
    """

    selection: str
    expressions: Mapping[str, str]
    bind: Mapping[str, str] = field(default_factory=dict)


Step: TypeAlias = Select | Score | Unite | Train | Evaluate | Mean


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
