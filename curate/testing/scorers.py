"""The contract of scorers, all five kinds."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, TypeAlias, cast, get_args

import numpy as np

from curate.contracts import (
    FAILURE,
    ROLES,
    TOKENS_RUN,
    Column,
    Columns,
    DerivedScorer,
    Example,
    ForwardScorer,
    LoadContext,
    PoolScorer,
    RowScorer,
    RunRecipe,
    RunScorer,
    Scorer,
    Segment,
    SegmentStats,
    Stat,
)
from curate.errors import ExampleFailure
from curate.registry import build, get_scorer
from curate.testing.common import ContractError, check_config, name_of, require
from curate.testing.synthetic import synthetic_stats, synthetic_view
from curate.train.recipes import config_of

Contexts: TypeAlias = Callable[[Scorer], LoadContext]

_DTYPES: Final[tuple[str, ...]] = get_args(Column.__annotations__["dtype"])
_TOLERANCE: Final = 1e-4  # a padded float32 batch and single rows agree to this, relative

_EXTRA: Final[Mapping[str, Column]] = {
    FAILURE: Column("text", "why an example has no score"),
    TOKENS_RUN: Column("int", "tokens a model ran"),
}

EXAMPLES: Final = (
    Example(
        "a" * 32,
        (
            {"role": "user", "content": "Add 2 and 3."},
            {"role": "assistant", "content": "5"},
        ),
    ),
    Example(
        "b" * 32,
        (
            {"role": "system", "content": "You answer briefly."},
            {"role": "user", "content": "Name a colour."},
            {"role": "assistant", "content": "Blue."},
            {"role": "user", "content": "Another one, and say why."},
            {"role": "assistant", "content": "Green, because leaves are green in the summer."},
        ),
    ),
    Example(
        "c" * 32,
        (
            {"role": "user", "content": "Write ünïcode 漢字."},
            {"role": "assistant", "content": "ünïcode 漢字\n\nand a second paragraph"},
        ),
    ),
)


def check_scorer(
    scorer: Scorer,
    context: Contexts | None = None,
    columns: Mapping[str, Column] | None = None,
) -> None:
    """Check every promise of a scorer on made-up input.

    All kinds: configuration (frozen, hashable, pickles), a version, declared outputs and role, and
    exactly the declared columns, of the declared types. Forward scorers: segments with distinct
    names, a `reduce` that needs only the statistics in ``emits``, is pure, leaves its input alone
    and returns finite float64 or raises `ExampleFailure`, also for one and for no scored token.
    Row and derived scorers: one entry per example, in order, whatever the batch; what a derived
    scorer reads is computed by the scorers it names. Pool scorers: one entry per
    example of a view. Run scorers: a role, the columns of a trajectory, and a recipe that can be
    trained.

    Parameters
    ----------
    context
        Called with a row scorer; returns where and with which small model it loads. Needed for row
        scorers that run a model.
    columns
        Columns by ``alias.column`` for needs of a pool scorer without a scorer (``Need(None)``).

    Raises
    ------
    ContractError
        A promise is broken; the message says which.
    """
    check_config(scorer)
    label = f"scorer {name_of(scorer)}"
    _check_declarations(scorer, label)
    if isinstance(scorer, ForwardScorer):
        _check_forward(scorer, label)
    elif isinstance(scorer, RowScorer):
        _check_rows(scorer, context, label)
    elif isinstance(scorer, DerivedScorer):
        _check_derived(scorer, context, label)
    elif isinstance(scorer, PoolScorer):
        _check_pool(scorer, columns or {}, label)
    elif isinstance(scorer, RunScorer):
        _check_run(scorer, label)
    else:
        raise ContractError(
            f"{label} is not a ForwardScorer, RowScorer, DerivedScorer, PoolScorer or RunScorer"
        )


def check_columns(columns: Columns, outputs: Mapping[str, Column], n_rows: int, label: str) -> None:
    """Check that a batch of columns is what was declared: names, one entry per row, types.

    What a row or derived scorer may return beside its outputs is checked where it is there.
    """
    declared = {**outputs, **{name: extra for name, extra in _EXTRA.items() if name in columns}}
    require(
        set(columns) == set(declared),
        f"{label} returns columns {sorted(columns)} but declares {sorted(outputs)}",
    )
    for name, values in columns.items():
        require(
            len(values) == n_rows,
            f"{label} returns {len(values)} rows of {name!r} for {n_rows} examples",
        )
        for value in values:
            if not (name == FAILURE and value is None):
                _check_value(value, declared[name], f"{label}, column {name!r}", may_be_nan=True)


def _check_declarations(scorer: Scorer, label: str) -> None:
    version = getattr(scorer, "version", None)
    require(
        isinstance(version, int) and not isinstance(version, bool) and version >= 1,
        f"{label} has version {version!r}; give a whole number from 1",
    )
    outputs = getattr(scorer, "outputs", None)
    require(
        isinstance(outputs, Mapping) and len(outputs) > 0, f"{label} declares no output columns"
    )
    for name, column in cast(Mapping[str, Column], outputs).items():
        require(name.isidentifier(), f"{label} declares column {name!r}; use letters, digits and _")
        require(
            isinstance(column, Column), f"{label} declares {name!r} as {column!r}, not a Column"
        )
        require(column.dtype in _DTYPES, f"{label} declares {name!r} of type {column.dtype!r}")
        require(bool(column.meaning.strip()), f"{label} does not say what {name!r} means")
    known = {item.name for item in fields(cast(Any, scorer))}
    for name in sorted(scorer.unkeyed - known):
        raise ContractError(f"{label} leaves {name!r} out of the key, which is no field of it")
    role = getattr(scorer, "role", "undeclared")
    require(role is None or role in ROLES, f"{label} has role {role!r}; one of {', '.join(ROLES)}")


def _check_value(value: Any, column: Column, where: str, *, may_be_nan: bool) -> None:
    match column.dtype:
        case "float":
            fine = isinstance(value, float | np.floating)
            require(fine, f"{where}: {value!r} is not a float")
            require(may_be_nan or bool(np.isfinite(value)), f"{where}: {value!r} is not finite")
        case "int":
            fine = isinstance(value, int | np.integer) and not isinstance(value, bool)
            fine = fine or (may_be_nan and _is_whole_or_nan(value))  # NaN needs a float column
            require(fine, f"{where}: {value!r} is not an int")
        case "bool":
            require(isinstance(value, bool | np.bool_), f"{where}: {value!r} is not a bool")
        case "text":
            require(isinstance(value, str), f"{where}: {value!r} is not text")
        case _:
            array = np.asarray(value)
            kinds = "iu" if column.dtype == "ints" else "f"
            fine = array.ndim == 1 and (len(array) == 0 or array.dtype.kind in kinds)
            require(fine, f"{where}: {value!r} is not a one-dimensional array of {column.dtype}")
            finite = may_be_nan or column.dtype == "ints" or bool(np.isfinite(array).all())
            require(finite, f"{where}: {value!r} is not finite")


def _is_whole_or_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value) or value % 1 == 0)


def _check_forward(scorer: ForwardScorer, label: str) -> None:
    names = {item.name for item in fields(cast(Any, scorer))}
    for needed in ("template", "score_end"):
        require(needed in names, f"{label} has no field {needed!r}, which every forward scorer has")
    emits = scorer.emits
    require(
        isinstance(emits, frozenset) and all(isinstance(stat, Stat) for stat in emits),
        f"{label}: emits is {emits!r}; make it a frozenset of Stat",
    )
    segments = scorer.segments()
    require(
        isinstance(segments, tuple)
        and len(segments) > 0
        and all(isinstance(segment, Segment) for segment in segments),
        f"{label}: segments() returns {segments!r}; make it a tuple of Segment, at least one",
    )
    named = [segment.name for segment in segments]
    require(len(set(named)) == len(named), f"{label}: two segments have one name ({named})")
    require(segments == scorer.segments(), f"{label}: segments() changes between calls")
    for seed, n_scored in enumerate((5, 2, 40, 1, 0)):
        for truncated in (False, True):
            _check_reduce(scorer, named, seed, n_scored, truncated, label)
    rng, least = np.random.default_rng(0), scorer.emits - scorer.optional
    found = scorer.reduce(
        {n: synthetic_stats(least, rng, score_end=scorer.score_end) for n in named}
    )
    where = f"{label}, reduce() without {sorted(stat.value for stat in scorer.optional)}"
    require(set(found) == set(scorer.outputs), f"{where}: returns {sorted(found)}")


def _check_reduce(
    scorer: ForwardScorer, named: list[str], seed: int, n_scored: int, truncated: bool, label: str
) -> None:
    rng = np.random.default_rng(seed)
    stats = {
        name: synthetic_stats(scorer.emits, rng, n_scored, truncated, scorer.score_end)
        for name in named
    }
    untouched = copy.deepcopy(stats)
    where = f"{label}, reduce() with {n_scored} scored tokens{', truncated' * truncated}"
    first, second = _reduced(scorer, stats, where), _reduced(scorer, stats, where)
    for name, before in untouched.items():
        require(_same(stats[name], before), f"{where}: changes the statistics of {name!r}")
    if first is None or second is None:
        require(first is None and second is None, f"{where}: fails once and not again")
        require(n_scored < 2, f"{where}: fails an ordinary example")
        return
    require(
        set(first) == set(scorer.outputs),
        f"{where}: returns {sorted(first)} but declares {sorted(scorer.outputs)}",
    )
    for name, value in first.items():
        column = scorer.outputs[name]
        _check_value(value, column, f"{where}, column {name!r}", may_be_nan=False)
        double = column.dtype != "float" or isinstance(value, float)  # np.float64 is a float
        require(double, f"{where}, column {name!r}: {type(value).__name__} is not float64")
        require(
            np.array_equal(np.asarray(value), np.asarray(second[name])),
            f"{where}, column {name!r}: two answers for one input",
        )


def _reduced(
    scorer: ForwardScorer, stats: Mapping[str, SegmentStats], where: str
) -> Mapping[str, Any] | None:
    try:
        return scorer.reduce(stats)
    except ExampleFailure as failure:
        require(bool(failure.reason.strip()), f"{where}: fails the example without a reason")
        return None


def _same(stats: SegmentStats, other: SegmentStats) -> bool:
    return all(
        np.array_equal(np.asarray(getattr(stats, name)), np.asarray(getattr(other, name)))
        for name in ("nll", "is_end", "entropy", "mean_hidden", "weighted_hidden", "last_hidden")
        if getattr(stats, name) is not None
    )


def _check_rows(scorer: RowScorer, context: Contexts | None, label: str) -> None:
    _check_function(scorer.load(_where(scorer, context)), scorer.outputs, label)


def _check_derived(scorer: DerivedScorer, context: Contexts | None, label: str) -> None:
    needs = scorer.requires()
    require(len(needs) > 0, f"{label} reads nothing; make it a RowScorer")
    require(dict(needs) == dict(scorer.requires()), f"{label}: requires() changes between calls")
    _check_function(_reading(scorer, context), scorer.outputs, label)


def _check_function(
    score: Callable[[Sequence[Example]], Columns], outputs: Mapping[str, Column], label: str
) -> None:
    whole = score(EXAMPLES)
    check_columns(whole, outputs, len(EXAMPLES), label)
    _check_batching(score, outputs, whole, label)


def _where(scorer: Scorer, context: Contexts | None) -> LoadContext:
    if context is not None:
        return context(scorer)
    require(
        scorer.model_role is None,
        f"scorer {name_of(scorer)} runs a model; pass check_scorer a context for it",
    )
    return LoadContext(device="cpu", dtype="float32")


def _reading(
    scorer: DerivedScorer, context: Contexts | None
) -> Callable[[Sequence[Example]], Columns]:
    """Load a derived scorer and compute what it reads of `EXAMPLES`; return a function of examples."""
    read: dict[str, Any] = {}
    for alias, need in scorer.requires().items():
        require(need.scorer is not None, f"scorer {name_of(scorer)}: {alias!r} names no scorer")
        needed = build(get_scorer(str(need.scorer)), need.config)
        read |= {f"{alias}.{name}": v for name, v in _scores_of(needed, context).items()}
    score = scorer.load(_where(scorer, context))
    places = {example.id: place for place, example in enumerate(EXAMPLES)}

    def run(examples: Sequence[Example]) -> Columns:
        rows = [places[example.id] for example in examples]
        return score(examples, {name: values[rows] for name, values in read.items()})

    return run


def _scores_of(scorer: Scorer, context: Contexts | None) -> dict[str, Any]:
    """Return what a forward, row or derived scorer makes of `EXAMPLES`, one entry per example."""
    if isinstance(scorer, ForwardScorer):
        names = [segment.name for segment in scorer.segments()]
        rng = np.random.default_rng(0)
        reduced = [
            scorer.reduce(
                {n: synthetic_stats(scorer.emits, rng, score_end=scorer.score_end) for n in names}
            )
            for _ in EXAMPLES
        ]
        return {name: np.array([values[name] for values in reduced]) for name in scorer.outputs}
    if isinstance(scorer, DerivedScorer):
        columns = _reading(scorer, context)(EXAMPLES)
    else:
        require(
            isinstance(scorer, RowScorer),
            f"scorer {name_of(scorer)} does not score one example at a time, and a derived scorer "
            "reads it",
        )
        columns = cast(RowScorer, scorer).load(_where(scorer, context))(EXAMPLES)
    return {name: columns[name] for name in scorer.outputs}


def _check_batching(
    score: Callable[[Sequence[Example]], Columns],
    outputs: Mapping[str, Column],
    whole: Columns,
    label: str,
) -> None:
    backwards = score(EXAMPLES[::-1])
    check_columns(backwards, outputs, len(EXAMPLES), label)
    for row, example in enumerate(EXAMPLES):
        alone = score([example])
        check_columns(alone, outputs, 1, label)
        for name in outputs:
            expected = whole[name][row]
            require(
                _close(expected, alone[name][0]),
                f"{label}: {name!r} of example {row} is {expected!r} in a batch and "
                f"{alone[name][0]!r} alone",
            )
            require(
                _close(expected, backwards[name][len(EXAMPLES) - 1 - row]),
                f"{label}: {name!r} does not follow the order of the batch",
            )


def _close(value: Any, other: Any) -> bool:
    a, b = np.asarray(value), np.asarray(other)
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    return bool(a.shape == b.shape and np.allclose(a, b, _TOLERANCE, _TOLERANCE, equal_nan=True))


def _check_pool(scorer: PoolScorer, columns: Mapping[str, Column], label: str) -> None:
    view = synthetic_view(scorer.requires(), np.random.default_rng(0), columns=columns)
    first = scorer.run(view, "cpu")
    check_columns(first, scorer.outputs, len(view), label)
    second = scorer.run(view, "cpu")
    for name in scorer.outputs:
        require(
            all(_close(a, b) for a, b in zip(first[name], second[name], strict=True)),
            f"{label}: two answers for {name!r} of one pool",
        )


def _check_run(scorer: RunScorer, label: str) -> None:
    require(scorer.role is not None, f"{label} trains a model but names no role for it")
    dtypes = {name: column.dtype for name, column in scorer.outputs.items()}
    require(
        dtypes == {"losses": "floats", "steps": "ints"},
        f"{label} declares {dtypes}; a run leaves losses (floats) and steps (ints)",
    )
    recipe = scorer.recipe()
    require(isinstance(recipe, RunRecipe), f"{label}: recipe() returns {recipe!r}, not a RunRecipe")
    require(recipe == scorer.recipe(), f"{label}: recipe() changes between calls")
    require(recipe.points >= 1, f"{label}: its recipe records {recipe.points} points")
    require(0 < recipe.share <= 1, f"{label}: its recipe trains on a share of {recipe.share}")
    config_of(recipe, "model", scorer.template)
