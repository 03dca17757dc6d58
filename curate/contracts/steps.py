"""What a procedure may ask for, one step at a time, and what it gets back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

if TYPE_CHECKING:
    from curate.contracts import Role

TARGET_SET: Final = "target-set"  # in place of a selection's id: what the run selects towards


@final
@dataclass(frozen=True, slots=True)
class Select:
    """Step: select with a method, inside the whole pool or inside an earlier step's selection.

    ``within`` is the id of a selection to stay inside of, ``without`` are ids of selections whose
    examples are excluded. ``bind`` fixes the score sets that the method's aliases stand
    for, by id: the only way to read a partial one.
    """

    method: str
    budget: str | None
    config: Mapping[str, Any] = field(default_factory=dict)
    within: str | None = None
    seed: int = 0
    without: tuple[str, ...] = ()
    bind: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Score:
    """Step: make sure the pool has a score set; nothing is computed twice.

    With ``within``, the id of a selection, only its examples are scored, into a partial set. Its
    facts are ``n_examples``, ``n_failed`` and ``tokens``: what was run for it and for the scores it
    reads, as far as those are of the same examples.

    ``model`` is one that an earlier step trained, in place of that of the role; then ``within`` is
    given too, so that no later command takes its scores for those of a model of the user. In
    ``config`` the template ``auto`` is that of a `Train` step: chat if the model has one, else plain.
    """

    scorer: str
    config: Mapping[str, Any] = field(default_factory=dict)
    role: "Role | None" = None
    within: str | None = None
    model: str = ""


@final
@dataclass(frozen=True, slots=True)
class Union:
    """Step: one selection of all examples of several, in their order; the first to name one wins."""

    selections: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Train:
    """Step: fine-tune the model of a role on a selection with the built-in loop.

    The result's id names the trained model in later steps of the run. Its facts are ``tokens``,
    ``seconds``, ``flops`` and, with ``evaluate``, ``nll``: the mean loss in nats per response token
    on that selection's examples.

    Parameters
    ----------
    selection
        What to train on: a selection, or `TARGET_SET` in a procedure with ``uses_target``.
    settings
        Of `curate.train.config.TrainConfig`, by dotted name, such as ``optimiser.lr``; ``objective``,
        ``policy`` and ``mixture`` by name, and their fields as ``policy.k``. Without
        ``data.batch_tokens`` a batch is a quarter of the selection's tokens at most.
    evaluate
        A selection of held-out examples, or None.
    """

    selection: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    role: "Role" = "target"
    seed: int = 0
    evaluate: str | None = None


def training_settings(
    epochs: int | float,  # noqa: PYI041 - run-time type checks do not read int as float
    lr: int | float,  # noqa: PYI041 - the same
    template: str,
    batch_tokens: int | None = None,
) -> dict[str, Any]:
    """Return what a method says about its own training as settings of a `Train` step.

    Examples
    --------
    >>> training_settings(3, 1e-5, "chat")
    {'length.epochs': 3, 'optimiser.lr': 1e-05, 'data.template': 'chat'}
    """
    settings = {"length.epochs": epochs, "optimiser.lr": lr, "data.template": template}
    return settings if batch_tokens is None else {**settings, "data.batch_tokens": batch_tokens}


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
        answer of at most this many tokens.
    rewards
        Ids of score sets of the scorer ``reward`` that hold the references' rewards. With them the
        mean is of the reference's reward minus the answer's, by the same reward model, and no loss.
    """

    model: str
    selection: str
    by: str
    bind: Mapping[str, str] = field(default_factory=dict)
    minus: str | None = None
    answers: int = 0
    rewards: tuple[str, ...] = ()
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


@final
@dataclass(frozen=True, slots=True)
class Generate:
    """Step: a trained model's answer to each prompt of a selection, as a candidate response.

    The result's id names the candidates. Its facts are ``n_rows``, ``n_written``, ``failed`` (counts by
    reason), ``tokens``, ``seconds`` and ``flops``.

    Parameters
    ----------
    model
        An earlier step has trained it; it is asked in the template it was trained in.
    max_new_tokens
        Maximum length of an answer in tokens; an answer that does not end by then is discarded.
    temperature
        0 is greedy. Otherwise what is drawn depends on the example's id and ``seed`` alone.
    """

    model: str
    selection: str
    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0


@final
@dataclass(frozen=True, slots=True)
class Judge:
    """Step: the model of a role, untrained, compares each candidate with the response it is for.

    The result's id names the verdicts. Its facts are ``n_rows``, ``n_judged``, ``mass`` (median
    probability of the letters, or share of replies with one), ``tokens``, ``seconds`` and ``flops``.

    Parameters
    ----------
    candidates
        Id of the result of `Generate`.
    mode
        ``logits`` reads the choice from probabilities; ``sample`` draws ``k`` verdicts a presentation
        order.
    reflection
        Of the judge on its verdict, as in `curate.scorers.confidence.Confidence`.
    max_new_tokens
        Maximum length in tokens of every text the judge writes.
    template
        ``chat``, or a text template; ``--template chat`` or ``plain`` replaces it.
    """

    candidates: str
    mode: Literal["logits", "sample"] = "logits"
    reflection: Literal["logits", "generate"] = "logits"
    k: int = 5
    max_new_tokens: int = 512
    template: str = "chat"
    seed: int = 0
    role: "Role" = "target"


@final
@dataclass(frozen=True, slots=True)
class Revise:
    """Step: a selection of what is kept and of the candidates that a judge prefers with confidence.

    The selection's revisions are saved with it: whoever trains on it or exports it reads them. An
    example of ``kept`` that has a verdict is replaced too where the judge says so. The facts are
    ``n_kept``, ``n_replaced``, ``n_dropped`` and ``dropped``, counts by reason.

    Parameters
    ----------
    kept
        Id of a selection whose gains are confidences.
    verdicts
        Id of the result of `Judge`.
    above
        What the confidence of a verdict must exceed.
    limit
        Keep at most this many, the most confident first; None for all.
    """

    kept: str
    verdicts: str
    above: float
    limit: int | None = None


Step: TypeAlias = Select | Score | Union | Train | Evaluate | Mean | Generate | Judge | Revise


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What a step left in the store: the id of its selection or score set, and its facts."""

    id: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What a procedure ends with: a selection, whose revisions are stored with it, and warnings."""

    selection_id: str
    warnings: tuple[str, ...] = ()
